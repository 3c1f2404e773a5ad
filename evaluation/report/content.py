"""The content of a report on sweeps: made once, written as HTML and as Markdown by `page.py`."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from evaluation.report.analysis_plots import StoredAnalysis
from evaluation.report.decisions import Decided, decided_in
from evaluation.report.findings import describe_curves, key_numbers
from evaluation.report.front import are_comparable, describe_front, draw_front, glance_table, grouped
from evaluation.report.plots import Panel, draw_panel, panels
from evaluation.report.render import Table
from evaluation.report.results import results_table
from evaluation.report.stage_plot import draw_stages
from evaluation.report.strip import Strip, make_strip
from evaluation.report.sweep import Point, Scale, Sweep, join_sweeps
from tstitch.errors import UserError


@dataclass(frozen=True)
class Picture:
    """A plot, its caption, and the name of its files without suffix."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Curve:
    """Texts of a page on each point of a curve, in the order of the points: fractions of the small models, a text."""

    scale: Scale
    id: str
    fractions: list[str]
    texts: list[str]


@dataclass(frozen=True)
class Chapter:
    """The sweeps of one pair and protocol: findings, plots, images and tables.

    `curves` are what a page says of the points of each curve in the plots. `verdicts` and `panels` are by guidance
    scale; there are no panels where there is one point alone. `decided` has a picture of each decision of images.
    """

    pair: str
    lead: str
    numbers: list[tuple[str, str]]
    findings: list[str]
    verdicts: list[tuple[Scale, list[str]]]
    panels: list[tuple[Scale, list[Picture]]]
    strips: list[Strip]
    stages: Picture | None
    tables: list[Table]
    protocol: list[tuple[str, str]]
    curves: list[Curve]
    decided: list[tuple[Picture, Decided]]


@dataclass(frozen=True)
class Finding:
    """An analysis in the report: its plot and its sentences."""

    picture: Picture
    sentences: list[str]


@dataclass(frozen=True)
class Front(Finding):
    """All points in one plot; `groups` are what a page says of each point of each line, by the line's label."""

    groups: dict[str, list[str]]


@dataclass(frozen=True)
class Report:
    """All that the pages say; `commands` make the sweeps and the pages again.

    `glance` and `front` are of all sweeps together, where there are several: a table of their curves, and a plot of
    their points.
    """

    title: str
    chapters: list[Chapter]
    commands: list[str]
    analyses: list[Finding] = field(default_factory=list)
    glance: Table | None = None
    front: Front | None = None

    @property
    def pictures(self) -> list[Picture]:
        """Every plot."""
        plots = []
        for chapter in self.chapters:
            plots += [picture for _, pictures in chapter.panels for picture in pictures]
            plots += [chapter.stages] if chapter.stages is not None else []
            plots += [picture for picture, _ in chapter.decided]
        plots += [self.front.picture] if self.front is not None else []
        return [*plots, *(analysis.picture for analysis in self.analyses)]


def make_report(
    sweeps: Sequence[tuple[Sweep, Path]],
    analyses: Sequence[StoredAnalysis] = (),
    commands: Sequence[str] = (),
    beside_paper: Callable[[Sweep], Sequence[Table]] = lambda sweep: (),
) -> Report:
    """Put together the report on sweeps; those of one protocol share a chapter.

    Args:
        sweeps: each with its directory, below which the images of its points lie.
        analyses: of the sweeps' pairs.
        beside_paper: makes the tables of ours beside the paper's, of sweeps that are joined.

    Raises:
        UserError: an analysis is of another pair.
    """
    joined = join_sweeps(sweeps)
    sweep_in = {directory: sweep for sweep, directory in sweeps}
    chapters = [
        make_chapter(
            sweep,
            strips=[make_strip(sweep_in[directory], directory) for directory in directories],
            decided=[own for directory in directories for own in decided_in(sweep_in[directory], directory)],
            tables=beside_paper(sweep),
            others=[point for other, _ in sweeps if _are_of_one_large(other, sweep) for point in other.points],
            prefix=f"{number}_" if len(joined) > 1 else "",
        )
        for number, (sweep, directories) in enumerate(joined, start=1)
    ]
    pairs = ", ".join(dict.fromkeys(chapter.pair for chapter in chapters))
    title, findings = f"Trajectory stitching: {pairs}", _describe_analyses(analyses, chapters)
    everything = [sweep for sweep, _ in joined]
    num_series = sum(len(sweep.series) for sweep in everything)
    if num_series < 2:
        return Report(title, chapters, list(commands), findings)
    front = None
    if are_comparable(everything):
        caption = (
            "All points, each at the guidance scale that suits it best; a dotted line joins those that none beats."
        )
        texts = {group.label: list(map(describe_briefly, group.points)) for group in grouped(everything)}
        front = Front(Picture("front", caption, draw_front(everything)), describe_front(everything), texts)
    glance = glance_table(everything)
    return Report(title, chapters, list(commands), findings, glance if glance.rows else None, front)


def _are_of_one_large(sweep: Sweep, other: Sweep) -> bool:
    """Tell whether two sweeps have the same large denoiser, noise, evaluation and machine."""
    alike = ("extractor", "reference", "num_images", "seed")
    large = [list(each.protocol.get("denoisers", {}).values())[-1:] for each in (sweep, other)]
    is_alike = all(sweep.protocol.get(key) == other.protocol.get(key) for key in alike)
    return is_alike and sweep.timed_on == other.timed_on and large[0] == large[1]


def make_chapter(
    sweep: Sweep, strips: Sequence[Strip], tables: Sequence[Table], others: Sequence[Point] = (), prefix: str = "",
    decided: Sequence[Decided] = (),
) -> Chapter:  # fmt: skip
    """Put together what is said of the sweeps of one protocol, joined.

    Args:
        tables: ours beside the paper's; the table of results comes after them.
        others: points of the other sweeps.
        prefix: of the names of the pictures.
    """
    _, series, points = sweep.curves()[0]
    stages = None
    if all(point.stages_s_per_image for point in points):
        caption = (
            "Median milliseconds of an image by stage, as it is sampled in a batch of "
            f"{points[0].latency.get('batch_size')} on {sweep.timed_on}."
        )
        stages = Picture(f"{prefix}latency", caption, draw_stages(points))
    return Chapter(
        pair=sweep.protocol["pair"],
        lead=_lead(sweep),
        numbers=key_numbers(points, sweep.is_whole(series, points)),
        findings=describe_curves(sweep, others),
        verdicts=_verdicts(sweep),
        panels=_panels(sweep, prefix) if len(sweep.points) > 1 else [],
        strips=list(strips),
        stages=stages,
        tables=[*tables, results_table(sweep)],
        protocol=list(_flatten(sweep.protocol)),
        curves=[
            Curve(scale, series.id, [p.small_label for p in points], [describe_briefly(p) for p in points])
            for scale, series, points in sweep.curves()
        ],
        decided=[
            (Picture(f"{prefix}decided_{number}", f"{own.title}: {own.name} of all images.", own.figure), own)
            for number, own in enumerate(decided, start=1)
        ],
    )


def describe_briefly(point: Point) -> str:
    """Say what a point is and what was measured at it: metrics with their intervals, time of an image, evaluations."""
    parts = []
    for key, value in point.metrics.items():
        low, high = point.spread.get(key, {}).get("interval95", (None, None))
        name = key.upper() if key.startswith("fid") else key.replace("_", " ")
        parts.append(f"{name} {value:.4g}" + (f" (95%: {low:.4g} to {high:.4g})" if low is not None else ""))
    if point.distance_from_large is not None:
        parts.append(f"{point.distance_from_large:.1f} of 255 levels from the large model's own images")
    parts.append(f"{1000 * point.seconds_per_image:.1f} ms for an image")
    parts += [f"{name} evaluated {count:.4g} times" for name, count in point.evaluations.items()]
    how = [point.sampler, f"{point.num_steps} steps", f"guidance {point.shown('guidance_scale')}"]
    how += [] if point.allocation else [" ".join(part for part in (point.router, point.knob) if part)]
    return f"{point.label}: {', '.join([*parts, *how])}"


def reproduce(sweep: Sweep) -> str:
    """Return the command that makes a sweep again: its own overrides, without where files lie."""
    command = "scripts.sweep_prompts" if "pipeline" in sweep.protocol else "scripts.sweep"
    return shlex.join(["python", "-m", command, *sweep.overrides])


def _describe_analyses(analyses: Sequence[StoredAnalysis], chapters: Sequence[Chapter]) -> list[Finding]:
    pairs = list(dict.fromkeys(chapter.pair for chapter in chapters))
    shown = []
    for number, analysis in enumerate(analyses, start=1):
        if analysis.pair not in pairs:
            raise UserError(f"the analysis {analysis.kind} is of {analysis.pair}, the sweeps of {', '.join(pairs)}")
        is_one_of_several = [other.kind for other in analyses].count(analysis.kind) > 1
        name = f"{analysis.kind}_{number}" if is_one_of_several else analysis.kind
        caption = f"{analysis.kind.capitalize()} of {analysis.pair}, {analysis.num_images} images."
        shown.append(Finding(Picture(name, caption, analysis.draw()), analysis.sentences))
    return shown


def _verdicts(sweep: Sweep) -> list[tuple[Scale, list[str]]]:
    """List the verdicts on the points of each guidance scale that has any."""
    verdicts = [
        (scale, [p.paired["verdict"] for p in sweep.points if p.paired is not None and p.guidance_scale == scale])
        for scale in sweep.guidance_scales
    ]
    return [(scale, texts) for scale, texts in verdicts if texts]


def _panels(sweep: Sweep, prefix: str) -> list[tuple[Scale, list[Picture]]]:
    return [
        (
            scale,
            [
                Picture(f"{prefix}{_panel_name(panel, scale)}", panel.title, draw_panel(panel, sweep, scale))
                for panel in panels(sweep)
            ],
        )
        for scale in sweep.guidance_scales
    ]


def _panel_name(panel: Panel, scale: Scale) -> str:
    scales = scale if isinstance(scale, list) else [scale]
    return f"{panel.name}_scale_{'_'.join(f'{value:g}' for value in scales)}"


def _lead(sweep: Sweep) -> str:
    p = sweep.protocol
    sampler = f"{p['sampler']['name'].upper()}, {p['num_steps']} steps, " if "sampler" in p and "num_steps" in p else ""
    scored = ""
    if "extractor" in p:
        real = p.get("reference_num_images") or "the"
        scored = f" Scored against {real} real images over the features of {p['extractor']}."
    return (
        f"{sampler}{p['num_images']:,} images a point with the same noise and labels (seed {p['seed']}), "
        f"{p['precision']}, on {p['device_name']}; times on {sweep.timed_on}.{scored}"
    )


def _flatten(values: dict, prefix: str = "") -> list[tuple[str, str]]:
    """List the values of nested mappings, each with the names that lead to it."""
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += _flatten(value, f"{name}: ")
        else:
            rows.append((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows
