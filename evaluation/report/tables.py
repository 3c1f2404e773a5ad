"""Tables of ours beside the paper's."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.metrics.metric_names import METRIC_NAMES
from evaluation.report.findings import FLAT_WITHIN, describe_finding, last_flat
from evaluation.report.paper import METRICS, Paper, same_fractions
from evaluation.report.render import NO_VALUE, Table
from evaluation.report.sweep import Point, Scale, Series, Sweep
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions

TITLES = {metric.name: metric.title for metric in METRIC_NAMES}
TITLES |= {"inception_score": "IS", "precision": "precision", "recall": "recall", "clip_score": "CLIP"}


@dataclass(frozen=True)
class ModelRow:
    """The cost of a denoiser, or of some stitched. `gmacs` is of a forward, counted as the paper does.

    `fractions` is what runs, `asked` the requested fractions.
    """

    name: str
    fractions: list[float]
    parameters_m: float
    gmacs: float
    storage_mb: float | None = None
    memory_mb: float | None = None
    asked: tuple[list[float], ...] = ()

    def is_for(self, fractions: Sequence[float]) -> bool:
        """Say whether it is the row that runs for these requested fractions."""
        return any(same_fractions(fractions, values) for values in self.asked or (self.fractions,))


def points_table(paper: Paper, sweep: Sweep, differences: Sequence[str]) -> Table:
    """Make the table of each point of a sweep beside the paper's.

    Args:
        differences: between the protocols; where there are any, no point is judged within tolerance, and where the data
            are others, not even the difference is shown.
    """
    has_difference = not any(text.startswith("data:") for text in differences)
    reported = [paper.values_at(point) for point in sweep.points]
    ours_has = [metric.name for metric, _ in sweep.metrics]
    metrics = [name for name in METRICS if any(name in values for values in reported) or name in ours_has]
    others = [name for name in ours_has if name not in METRICS]
    keys = [key for key in ("sampler", "num_steps", "guidance_scale", "order", "rule") if _varies(sweep, key)]
    is_rounded = any(point.asked_otherwise for point in sweep.points)
    columns = ["fractions", *(["asked"] if is_rounded else []), *(key.replace("_", " ") for key in keys)]
    for name in metrics:
        columns += [f"{TITLES[name]} here", f"{TITLES[name]} paper"]
        if has_difference and name in paper.tolerance:
            columns += ["difference", f"within {paper.tolerance[name]:g}"]
    columns += [f"{TITLES[name]} here" for name in others]
    columns += [f"{_seconds(paper)} here", f"{_seconds(paper)} paper", "speed-up here", "speed-up paper"]
    rows = []
    for point, values in zip(sweep.points, reported, strict=True):
        row = [show_fractions(point.fractions), *([point.asked_otherwise or NO_VALUE] if is_rounded else [])]
        row += [point.shown(key) for key in keys]
        for name in metrics:
            ours, theirs = point.metric(name), values.get(name)
            row += [_number(ours), _number(theirs)]
            if has_difference and name in paper.tolerance:
                row += _judge(ours, theirs, paper.tolerance[name], bool(differences))
        row += [_number(point.metric(name)) for name in others]
        rows.append([*row, *_times(point, values, sweep, paper)])
    notes = [*_shapes(paper, sweep), *_notes(paper, differences)]
    return Table(paper.title, columns, rows, notes)


def models_table(paper: Paper, models: Sequence[ModelRow], sweep: Sweep | None, differences: Sequence[str]) -> Table:
    """Make the table of denoisers alone: parameters, multiply-accumulates of a forward, time, FID."""
    columns = ["model", "paper's model"]
    for title in ("parameters (M)", "GMACs", _seconds(paper), "FID"):
        columns += [f"{title} here", f"{title} paper"]
    rows = []
    for model, theirs in zip(models, paper.models, strict=True):
        point = None if sweep is None else _find(sweep, model.fractions)
        ours = [
            model.parameters_m,
            model.gmacs,
            None if point is None else paper.timed_images * point.seconds_per_image,
            None if point is None else point.metric("fid"),
        ]
        reported = [theirs.get(key) for key in ("parameters_m", "gflops", "time_s", "fid")]
        cells = [_number(value) for pair in zip(ours, reported, strict=True) for value in pair]
        rows.append([model.name, theirs["name"], *cells])
    return Table(paper.title, columns, rows, _notes(paper, differences))


def memory_table(paper: Paper, models: Sequence[ModelRow], sweep: Sweep | None, differences: Sequence[str]) -> Table:
    """Make the table of what stitching two models costs beside each of them alone."""
    columns = ["fractions"]
    for title in ("parameters (M)", "storage (MB)", "peak memory (MB)", _seconds(paper)):
        columns += [f"{title} here", f"{title} paper"]
    rows = []
    for theirs in paper.rows:
        model = next(row for row in models if row.is_for(theirs["fractions"]))
        point = None if sweep is None else _find(sweep, model.fractions)
        requested = show_fractions(theirs["fractions"])
        ran = show_fractions(model.fractions)
        seconds = None if point is None else paper.timed_images * point.seconds_per_image
        ours = [model.parameters_m, model.storage_mb, model.memory_mb, seconds]
        reported = [theirs[key] for key in ("parameters_m", "storage_mb", "memory_mb", "time_s")]
        cells = [_number(value) for pair in zip(ours, reported, strict=True) for value in pair]
        rows.append([ran if ran == requested else f"{ran} (asked {requested})", *cells])
    return Table(paper.title, columns, rows, _notes(paper, differences))


def missing_table(paper: Paper, reasons: Sequence[str]) -> Table:
    """Make the table of the paper's numbers alone, where ours cannot be made, with the reasons."""
    rows = []
    known = [name for name in (*METRICS, "time_s") if any(name in curve for curve in paper.curves)]
    settings = [key for key in ("sampler", "num_steps", "order") if any(key in curve for curve in paper.curves)]
    for curve in paper.curves:
        for position, fractions in enumerate(curve["fractions"]):
            values = fractions if isinstance(fractions, Sequence) else [fractions, round(1 - fractions, 9)]
            cells = [_number(curve[name][position]) if name in curve else NO_VALUE for name in known]
            rows.append([show_fractions(values), *(_text(curve.get(key, NO_VALUE)) for key in settings), *cells])
    columns = ["fractions", *settings, *(f"{TITLES.get(name, _seconds(paper))} paper" for name in known)]
    return Table(paper.title, columns, rows, [*reasons, *_notes(paper, [])])


def _seconds(paper: Paper) -> str:
    """The heading of times, in seconds for as many images as the paper's."""
    return "s per image" if paper.timed_images == 1 else f"s per {paper.timed_images}"


def _varies(sweep: Sweep, key: str) -> bool:
    return len({point.shown(key) for point in sweep.points}) > 1


def _find(sweep: Sweep, fractions: Sequence[float]) -> Point | None:
    return next((point for point in sweep.points if same_fractions(fractions, point.fractions)), None)


def _judge(ours: float | None, theirs: float | None, tolerance: float, other_protocol: bool) -> list[str]:
    if ours is None or theirs is None:
        return [NO_VALUE, NO_VALUE]
    verdict = NO_VALUE if other_protocol else ("yes" if abs(ours - theirs) <= tolerance else "no")
    return [f"{ours - theirs:+.4g}", verdict]


def _times(point: Point, values: dict[str, float], sweep: Sweep, paper: Paper) -> list[str]:
    large = sweep.large_alone(point)
    faster = None if large is None else large.seconds_per_image / point.seconds_per_image
    large_time = None if large is None else paper.values_at(large).get("time_s")
    theirs = values.get("time_s")
    faster_there = None if theirs is None or large_time is None else large_time / theirs
    times = [paper.timed_images * point.seconds_per_image, theirs]
    return [*map(_number, times), *(NO_VALUE if ratio is None else f"{ratio:.2f}x" for ratio in (faster, faster_there))]


def _shapes(paper: Paper, sweep: Sweep) -> list[str]:
    """Describe how far FID stays flat, in the sweep and in the paper: this may be compared on any data."""
    notes = []
    for scale, series, points in sweep.curves():
        if len(points) < 2 or not any(point.is_large_alone for point in points):
            continue
        prefix = f"{_describe_series(series, sweep.series)}: " if len(sweep.series) > 1 else ""
        text = f"{prefix}{describe_finding(points, scale)}"
        if len(points[0].fractions) == 2:
            text += _flat_in_paper(paper, scale, series)
        notes.append(text)
    return notes


def _describe_series(series: Series, everything: Sequence[Series]) -> str:
    """Name a curve by sampler and steps, and by order and router where these vary."""
    parts = [series.sampler.upper(), f"{series.num_steps} steps"]
    parts += [series.order.replace("_", " ")] if len({own.order for own in everything}) > 1 else []
    parts += [f"router {series.router}"] if series.router != ALLOCATION else []
    return ", ".join(parts)


def _flat_in_paper(paper: Paper, scale: Scale, series: Series) -> str:
    if series.router != ALLOCATION:
        return ""
    settings = {"sampler": series.sampler, "num_steps": series.num_steps, "order": series.order}
    known = paper.fids_of_curve({**settings, "guidance_scale": scale})
    if len(known) < 3 or known[0][0] != 0:  # the ends alone do not say where it leaves them
        return ""
    flat, _ = known[last_flat([fid for _, fid in known])]
    return f" The paper's FID stays within {FLAT_WITHIN:.0%} up to {flat:g}."


def _notes(paper: Paper, differences: Sequence[str]) -> list[str]:
    notes = paper.notes
    if differences:
        notes.append(f"Not judged, because the protocols differ: {'; '.join(differences)}.")
    return notes


def _number(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.4g}"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")
