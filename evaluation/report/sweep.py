"""A sweep's points: the files that plots and tables read."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from evaluation.metrics.metric_names import DISTANCES, METRIC_NAMES, MetricName, is_metric, metrics_among
from evaluation.records import read_record
from evaluation.report.sweep_file import SweepRecord
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions
from tstitch.errors import UserError
from tstitch.runs.json_files import write_json

Scale = float | list[float]
T = TypeVar("T")
MAKE_AGAIN = "the sweep's command writes it anew and keeps the points that are finished"


@dataclass(frozen=True)
class Series:
    """The settings that the points of one curve share; along it the fractions vary."""

    sampler: str
    num_steps: int
    order: str
    rule: str
    router: str = ALLOCATION

    @property
    def id(self) -> str:
        """The id of a curve's line in pictures, by which a page finds its points, in the curve's order."""
        return f"points-{sha256(repr(self).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Asked:
    """Settings that led to a point. Fractions are rounded to whole steps, and some grids give fewer or more steps."""

    fractions: list[float]
    guidance_scale: Scale
    num_steps: int
    order: str
    rule: str
    router: str = ALLOCATION
    knob: str | None = None


@dataclass(frozen=True)
class Point:
    """One stitched setting: the run, its scores, the time of an image.

    `fractions` and `num_steps` are what ran; `asked` holds all the settings that led to it, in which a guidance scale,
    an order or a rule may differ too where the run does not depend on it. `spread` has the 95% intervals of FID and
    Inception Score; `paired` that of the difference in FID from the large model alone with the same noise, and a
    verdict in words. `run` is the directory of its images, relative to the sweep's directory.

    Where images decide, `allocation` is empty, `fractions` are the mean shares of the steps with the large model and
    without, `evaluations` those of an image by model, and `decisions` count the images by what each decided: at
    position k those that decided k.
    """

    fractions: list[float]
    guidance_scale: Scale
    sampler: str
    num_steps: int
    order: str
    rule: str
    allocation: list[int]
    metrics: dict[str, float]
    latency: dict
    spread: dict[str, dict] = field(default_factory=dict)
    paired: dict | None = None
    run: str = ""
    asked: list[Asked] = field(default_factory=list)
    router: str = ALLOCATION
    knob: str | None = None
    evaluations: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, list[int]] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        return Series(self.sampler, self.num_steps, self.order, self.rule, self.router)

    @property
    def curves(self) -> list[tuple[Scale, Series]]:
        """List guidance scale and series of every curve that it lies on: several where curves share a run."""
        others = [
            (a.guidance_scale, Series(self.sampler, self.num_steps, a.order, a.rule, a.router)) for a in self.asked[1:]
        ]
        return _each_once([(self.guidance_scale, self.series), *others])

    @property
    def asked_otherwise(self) -> str:
        """Return the requested fractions where others ran, such as `0.25/0.75`; empty where they are the same."""
        ran = show_fractions(self.fractions)
        shown = dict.fromkeys(show_fractions(asked.fractions) for asked in self.asked if asked.fractions)
        return ", ".join(fractions for fractions in shown if fractions != ran)

    @property
    def label(self) -> str:
        """Return `0.2/0.8`, or `0.2/0.8 (asked 0.25/0.75)` where other fractions were requested."""
        asked = f" (asked {self.asked_otherwise})" if self.asked_otherwise else ""
        return f"{show_fractions(self.fractions)}{asked}"

    @property
    def small_label(self) -> str:
        """Return the label without the last, large model's share: `0.2`, or `0.2 (asked 0.25)`."""
        ran = show_fractions(self.fractions[:-1])
        shown = dict.fromkeys(show_fractions(asked.fractions[:-1]) for asked in self.asked if asked.fractions)
        others = ", ".join(fractions for fractions in shown if fractions != ran)
        return f"{ran} (asked {others})" if others else ran

    def shown(self, setting: str) -> str:
        """Return a setting such as `order` as text; all requested values where the run does not depend on it."""
        values = [getattr(self, setting)]
        if setting in ("guidance_scale", "order", "rule", "router", "knob"):
            values += [getattr(asked, setting) for asked in self.asked[1:]]
        texts = [f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ") for value in values]
        return " or ".join(dict.fromkeys(texts))

    @property
    def distance_from_large(self) -> float | None:
        """Root mean square difference of the images from the large model's own ones with this noise, of 255 levels."""
        return None if self.paired is None else self.paired.get("distance")

    @property
    def small_fraction(self) -> float:
        return self.fractions[0]

    @property
    def is_large_alone(self) -> bool:
        return self.is_alone(-1)

    def is_alone(self, model: int) -> bool:
        """Tell whether a model takes every step, the only one that is asked."""
        return self.fractions[model] == 1 and len(self.allocation) > 0

    @property
    def distance(self) -> float | None:
        """Return FID, or FD over DINOv2 features; None where neither was requested."""
        return next((value for name in DISTANCES if (value := self.metric(name)) is not None), None)

    @property
    def distance_title(self) -> str:
        """Return the title of `distance`: `FID`."""
        return next((m.title for m in METRIC_NAMES if m.name in DISTANCES and self.metric(m.name) is not None), "FID")

    def metric(self, name: str) -> float | None:
        """Return a metric by its plain name, `fid` for `fid5k`; None where it was not requested."""
        return next((value for key, value in self.metrics.items() if is_metric(key, name, with_std=False)), None)

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the 95% interval of a metric by its plain name, where it was measured."""
        spread = next((value for key, value in self.spread.items() if is_metric(key, name)), None)
        return None if spread is None else tuple(spread["interval95"])

    @property
    def seconds_per_image(self) -> float:
        return self.latency["seconds_per_image"]

    @property
    def stages_s_per_image(self) -> dict[str, float]:
        """Return the seconds of an image by stage: each denoiser by name, `autoencoder`, `rest`."""
        return self.latency.get("stages_s_per_image", {})


@dataclass(frozen=True)
class Sweep:
    """All points of a sweep, the protocol that they share, and the overrides of `scripts.sweep` that make them."""

    points: list[Point]
    protocol: dict
    overrides: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[tuple[MetricName, str]]:
        """List the metrics that points have, each with its key in their results."""
        return metrics_among(key for point in self.points for key in point.metrics)

    @property
    def metric_keys(self) -> list[str]:
        """List all keys of the points' results, standard deviations among them."""
        return list(dict.fromkeys(key for point in self.points for key in point.metrics))

    @property
    def timed_on(self) -> str:
        """Return the machine of the points' latencies."""
        names = [point.latency.get("machine", {}).get("device", "an unknown machine") for point in self.points]
        return " and ".join(dict.fromkeys(names))

    @property
    def guidance_scales(self) -> list[Scale]:
        return _each_once([scale for point in self.points for scale, _ in point.curves])

    @property
    def series(self) -> list[Series]:
        return _each_once([series for point in self.points for _, series in point.curves])

    def select(self, scale: Scale, series: Series) -> list[Point]:
        """List the points of one guidance scale and series, by fraction of the smallest model."""
        chosen = [point for point in self.points if (scale, series) in point.curves]
        return sorted(chosen, key=lambda p: p.small_fraction)

    def large_alone(self, point: Point) -> Point | None:
        """Return the large model alone with a guidance scale, sampler and steps of the point's, where that was run."""
        wanted = _without_order(point)
        return next((p for p in self.points if p.is_large_alone and _without_order(p) & wanted), None)

    def is_whole(self, series: Series, points: Sequence[Point]) -> bool:
        """Tell whether a curve has every fraction of its series; where guidance was tuned, others have some of them."""
        everywhere = {point.small_fraction for point in self.points if series in (own for _, own in point.curves)}
        return everywhere == {point.small_fraction for point in points}

    def curves(self) -> list[tuple[Scale, Series, list[Point]]]:
        """List guidance scale, series and points of every curve that has points."""
        return [
            (scale, series, points)
            for scale in self.guidance_scales
            for series in self.series
            if (points := self.select(scale, series))
        ]


def _without_order(point: Point) -> set[tuple[str, str, int]]:
    """The guidance scales, samplers and steps of a point's curves, without who takes which step."""
    return {(str(scale), series.sampler, series.num_steps) for scale, series in point.curves}


def write_sweep(sweep: Sweep, directory: Path) -> None:
    """Write `sweep.json`."""
    content = {"overrides": sweep.overrides, "points": [asdict(p) for p in sweep.points], "protocol": sweep.protocol}
    write_json(directory / "sweep.json", content)


def read_sweep(directory: Path) -> Sweep:
    """Read `sweep.json`.

    Raises:
        UserError: there is none, or a field is missing or of another type.
    """
    path = directory / "sweep.json"
    if not path.is_file():
        raise UserError(f"{directory} holds no sweep (no sweep.json); run scripts.sweep first")
    content, _ = read_record(path, SweepRecord, MAKE_AGAIN)
    if not content["points"]:
        raise UserError(f"{path} has no points")
    return Sweep([_point(values) for values in content["points"]], content["protocol"], content["overrides"])


def _point(values: dict) -> Point:
    asked = [_known(Asked, request) for request in values.get("asked", [])]
    return replace(_known(Point, values), asked=asked)


def _known(kind: type[T], values: dict) -> T:
    """Make a dataclass from those of the values that are its own; another version may have written more."""
    return kind(**{own.name: values[own.name] for own in fields(kind) if own.name in values})


def join_sweeps(sweeps: Sequence[tuple[Sweep, Path]]) -> list[tuple[Sweep, list[Path]]]:
    """Join sweeps of one protocol (which includes the pair), timed on one machine; each with all its directories."""
    groups: dict[str, list[tuple[Sweep, Path]]] = {}
    for sweep, source in sweeps:
        groups.setdefault(json.dumps([sweep.protocol, sweep.timed_on], sort_keys=True), []).append((sweep, source))
    return [
        (Sweep([p for sweep, _ in group for p in sweep.points], group[0][0].protocol), [source for _, source in group])
        for group in groups.values()
    ]


def _each_once(values: Sequence) -> list:
    """List values in their order without repetitions; lists among them cannot be hashed."""
    seen = []
    for value in values:
        if value not in seen:
            seen.append(value)
    return seen
