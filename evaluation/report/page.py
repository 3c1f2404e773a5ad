"""One self-contained HTML page on a sweep."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from evaluation.report.figures import PALETTE, figure, svg_text
from evaluation.report.plots import Panel, draw_panel, first_of_each_class, panels, read_images
from evaluation.report.summary import describe_finding, find_flat_point
from evaluation.report.sweep import Point, Sweep
from evaluation.report.tables import Table
from evaluation.speed.latency import REST
from tstitch.allocation import show_fractions
from tstitch.runs.run import Run

TEMPLATE = Path(__file__).with_name("page.html.jinja")
NUM_CLASSES = 10
LATENCY = "latency"


@dataclass(frozen=True)
class Finding:
    """An analysis on the page: its name, its picture and its sentences."""

    name: str
    picture: Figure
    found: list[str]


def draw_pictures(sweep: Sweep, analyses: Sequence[Finding]) -> dict[str, Figure]:
    """Every plot of the page, drawn once, by a name that a file may have."""
    _, _, points = sweep.curves()[0]
    found = {
        _panel_name(panel, scale): draw_panel(panel, sweep, scale)
        for scale in sweep.guidance_scales
        for panel in panels(sweep)
    }
    if all(point.stages_s_per_image for point in points):
        found[LATENCY] = _draw_latency(points)
    return found | {finding.name: finding.picture for finding in analyses}


def render_report(
    sweep: Sweep,
    runs: Sequence[Run],
    pictures: Mapping[str, Figure],
    analyses: Sequence[Finding],
    tables: Sequence[Table],
    commands: str,
) -> str:
    """The page: everything is inside it, nothing is loaded.

    Args:
        runs: of the sweep's points, in their order.
        pictures: from `draw_pictures`.
        tables: ours beside the paper's.
        commands: that make the sweep and the page again.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    scale, series, points = sweep.curves()[0]
    shown = [(p, r) for p, r in zip(sweep.points, runs, strict=True) if (scale, series) in p.curves]
    return environment.from_string(TEMPLATE.read_text()).render(
        title=f"Trajectory stitching: {sweep.protocol['pair']}",
        lead=_lead(sweep),
        numbers=_numbers(points),
        found=[describe_finding(own, at) for at, _, own in sweep.curves()],
        curves=_curves(sweep, pictures),
        verdicts=[point.paired["verdict"] for point in sweep.points if point.paired is not None],
        strip=_strip(sorted(shown, key=lambda pair: pair[0].small_fraction)),
        latency=svg_text(pictures[LATENCY], "l-") if LATENCY in pictures else None,
        latency_caption="Median milliseconds of an image by stage, as it is sampled in a batch of "
        f"{points[0].latency.get('batch_size')} on {sweep.timed_on}.",
        analyses=[
            {"svg": svg_text(pictures[finding.name], f"a{k}-"), "found": finding.found}
            for k, finding in enumerate(analyses)
        ],
        tables=[*tables, _points_table(sweep)],
        protocol=list(_flatten(sweep.protocol)),
        commands=commands,
    )


def _lead(sweep: Sweep) -> str:
    p = sweep.protocol
    sampler = f"{p['sampler']['name'].upper()}, {p['num_steps']} steps, " if "sampler" in p and "num_steps" in p else ""
    return (
        f"{sampler}{p['num_images']:,} images a point with the same noise and labels (seed {p['seed']}), "
        f"{p['precision']}, on {p['device_name']}; times on {sweep.timed_on}. "
        f"Scored against {p['reference_num_images'] or 'the'} real images over "
        f"the features of {p['extractor']}."
    )


def _numbers(points: Sequence[Point]) -> list[tuple[str, str]]:
    """The few numbers to see first: the large model, the best free lunch, the small model."""
    large = next((point for point in points if point.is_large_alone), None)
    small = next((point for point in points if point.small_fraction == 1), None)
    title = points[0].distance_title
    found = (
        [] if large is None or large.distance is None else [(f"{title} of the large model", f"{large.distance:.2f}")]
    )
    flat = find_flat_point(points) if len(points[0].fractions) == 2 else None
    if large is not None and flat is not None and flat is not large:
        speed_up = large.seconds_per_image / flat.seconds_per_image
        found += [
            (f"{title} within 10% up to fraction", f"{flat.small_fraction:g}"),
            (f"{title} there", f"{flat.distance:.2f}"),
            ("speed-up there", f"{speed_up:.2f}x"),
        ]
    if small is None or small.distance is None:
        return found
    return [*found, (f"{title} of the small model", f"{small.distance:.2f}")]


def _panel_name(panel: Panel, scale: float | list[float]) -> str:
    scales = scale if isinstance(scale, list) else [scale]
    return f"{panel.name}_scale_{'_'.join(f'{value:g}' for value in scales)}"


def _curves(sweep: Sweep, pictures: Mapping[str, Figure]) -> list[tuple[object, list[dict]]]:
    found = []
    for s, scale in enumerate(sweep.guidance_scales):
        shown = [
            {"caption": panel.title, "svg": svg_text(pictures[_panel_name(panel, scale)], f"c{s}-{panel.name}-")}
            for panel in panels(sweep)
        ]
        found.append((scale, shown))
    return found


def _strip(columns: Sequence[tuple[Point, Run]]) -> dict:
    rows = first_of_each_class(columns[0][1], NUM_CLASSES)
    images = [read_images(run, list(rows.values())) for _, run in columns]
    return {
        "fractions": [point.small_label for point, _ in columns],
        "rows": [
            {"label": label, "images": [_data_url(column[k]) for column in images]} for k, label in enumerate(rows)
        ],
    }


def _draw_latency(points: Sequence[Point]) -> Figure:
    """Stacked bars of the stages by fraction."""
    names = _stage_names(points)
    with figure(7.5, 0.42 * len(points) + 1.2) as drawn:
        axes, left = drawn.subplots(), np.zeros(len(points))
        labels = [point.label for point in points]
        for colour, name in zip(PALETTE, names, strict=False):
            widths = np.array([1000 * point.stages_s_per_image.get(name, 0.0) for point in points])
            axes.barh(labels, widths, left=left, color=colour, label=name)
            left += widths
        axes.invert_yaxis()
        axes.set_xlabel("ms per image")
        axes.set_ylabel("fractions")
        axes.legend(ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return drawn


def _stage_names(points: Sequence[Point]) -> list[str]:
    """The denoisers, small to large as the points with more of the small ones come later, then what follows them."""
    names = dict.fromkeys(name for point in reversed(points) for name in point.stages_s_per_image)
    after = [name for name in names if name in ("autoencoder", REST)]
    return [name for name in names if name not in after] + after


def _points_table(sweep: Sweep) -> Table:
    metrics, intervals = sweep.metric_keys, [m for m, _ in sweep.metrics if _has_interval(sweep, m.name)]
    settings = ("guidance_scale", "sampler", "num_steps", "order")
    is_rounded = any(point.asked_otherwise for point in sweep.points)
    columns = ["fractions", *(["asked"] if is_rounded else []), *(name.replace("_", " ") for name in settings)]
    columns += [*metrics, *(f"95% interval of {metric.title}" for metric in intervals)]
    rows = []
    for point in sweep.points:
        low_high = [point.interval(metric.name) for metric in intervals]
        interval = ["-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}" for ends in low_high]
        values = [*([point.asked_otherwise or "-"] if is_rounded else []), *(point.shown(name) for name in settings)]
        scores = [f"{point.metrics[name]:.4g}" if name in point.metrics else "-" for name in metrics]
        times = [
            1000 * point.seconds_per_image,
            *(1000 * point.latency[f"seconds_per_image_{e}"] for e in ("min", "max")),
        ]
        fractions = show_fractions(point.fractions)
        rows.append([fractions, *values, *scores, *interval, f"{times[0]:.2f}", f"{times[1]:.2f} to {times[2]:.2f}"])
    return Table("All points", [*columns, "ms per image", "fastest to slowest"], rows, [])


def _has_interval(sweep: Sweep, name: str) -> bool:
    return any(point.interval(name) is not None for point in sweep.points)


def _flatten(values: dict, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            found += _flatten(value, f"{name}: ")
        else:
            found.append((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def _data_url(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
