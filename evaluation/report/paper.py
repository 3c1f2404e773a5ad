"""The paper's numbers for an experiment, and whether our protocol agrees with theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.report.sweep import Point
from settings.names import ALLOCATION

KINDS = ("points", "models", "memory", "analysis")
SETTINGS = ("sampler", "num_steps", "guidance_scale", "order")
T_STITCH = "small_to_large"  # the order of the paper's curves that name none
METRICS = ("fid", "inception_score", "precision", "recall", "clip_score")


@dataclass(frozen=True)
class Paper:
    """The paper's side of an experiment.

    Attributes:
        section: of `docs/paper.md`, which has the numbers and where they come from.
        curves: each with `fractions` and a list of the same length for every metric known (null where one is not), and
            those of `SETTINGS` that tell it from the others.
        models: of kind `models`, small to large.
        rows: of kind `memory`, one for each allocation.
        timed_images: how many images `time_s` is of.
        tolerance: how far two runs may lie apart, by metric; a metric without one is shown and not judged.
    """

    title: str
    kind: str
    protocol: dict
    tolerance: dict[str, float]
    section: str | None = None
    note: str | None = None
    curves: list[dict] = field(default_factory=list)
    models: list[dict] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    timed_images: int = 8

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind
        for curve in self.curves:
            lengths = {key: len(values) for key, values in curve.items() if isinstance(values, list)}
            assert len(set(lengths.values())) == 1, f"{self.title}: columns of different lengths {lengths}"

    @property
    def notes(self) -> list[str]:
        """Return the lines to print under a table: the note, and which section of `docs/paper.md` has the numbers."""
        source = self.section and f'The paper\'s numbers and settings: docs/paper.md, "{self.section}".'
        return [line for line in (self.note, source) if line]

    def values_at(self, point: Point) -> dict[str, float]:
        """Return the paper's metrics, and `time_s` of `timed_images`, at a point's settings; empty where it has none.

        The paper's fractions are those it asked for, rounded as ours, so they are looked up among those that were asked
        for here; of several that led to the point, the nearest to what ran. It has none of another router.
        """
        if point.router != ALLOCATION:
            return {}
        for request in sorted(_requests(point), key=lambda request: _distance(request["fractions"], point.fractions)):
            values = self._values(request)
            if values:
                return values
        return {}

    def fids_of_curve(self, settings: Mapping[str, object]) -> list[tuple[float, float]]:
        """Return the paper's share of the small model and FID, rising, all along the curve of these `SETTINGS`."""
        reported = {
            fractions[0] if isinstance(fractions, Sequence) else fractions: fid
            for curve in self._curves(settings)
            for fractions, fid in zip(curve["fractions"], curve.get("fid", []), strict=False)
            if fid is not None
        }
        return sorted(reported.items())

    def _values(self, request: Mapping[str, object]) -> dict[str, float]:
        for curve in self._curves(request):
            for position, fractions in enumerate(curve["fractions"]):
                if same_fractions(fractions, request["fractions"]):
                    columns = {key: values[position] for key, values in curve.items() if key not in SETTINGS}
                    return {key: value for key, value in columns.items() if key != "fractions" and value is not None}
        return {}

    def _curves(self, request: Mapping[str, object]) -> list[dict]:
        """List the curves whose settings are those of a request; a model alone has no order."""
        if 1 not in request.get("fractions", ()) and request["order"] != T_STITCH:
            curves = [curve for curve in self.curves if "order" in curve]
        else:
            curves = self.curves
        return [curve for curve in curves if all(key not in curve or curve[key] == request[key] for key in SETTINGS)]


def _requests(point: Point) -> list[dict]:
    """List the requests that led to a point, by the names of `SETTINGS`, with `fractions`."""
    ran = {key: getattr(point, key) for key in (*SETTINGS, "fractions")}
    first = [{**ran, "fractions": asked.fractions} for asked in point.asked[:1]]
    others = [
        {**ran, "fractions": asked.fractions, "guidance_scale": asked.guidance_scale, "order": asked.order}
        for asked in point.asked[1:]
    ]
    return [*first, *others] or [ran]


def _distance(fractions: Sequence[float], others: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(fractions, others, strict=True))


def same_fractions(written: float | Sequence[float], fractions: Sequence[float]) -> bool:
    """Say whether two ways to write fractions agree; a number alone is the share of the small one of two models."""
    values = written if isinstance(written, Sequence) else [written, 1 - written]
    return len(values) == len(fractions) and all(abs(a - b) < 1e-6 for a, b in zip(values, fractions, strict=True))


def protocol_differences(paper: Paper, ours: Mapping[str, object]) -> list[str]:
    """List what was measured differently, a phrase each. Empty means that the numbers may be compared.

    Args:
        ours: the keys of `paper.protocol` with our values, as far as they are known.
    """
    differences = []
    for key, value in paper.protocol.items():
        mine = ours.get(key)
        if mine is None:
            differences.append(f"{key.replace('_', ' ')}: {value} in the paper, unknown here")
        elif mine != value:
            differences.append(f"{key.replace('_', ' ')}: {value} in the paper, {mine} here")
    return differences
