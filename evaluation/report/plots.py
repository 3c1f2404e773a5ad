"""The pictures of a sweep: trade-off curves and the image strip."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter
from PIL import Image

from evaluation.metrics.metric_names import MetricName
from evaluation.report.figures import INK, MUTED, PALETTE, figure
from evaluation.report.images_of_run import first_of_each_class, read_images
from evaluation.report.pareto import pareto_front
from evaluation.report.stage_plot import draw_times
from evaluation.report.sweep import Point, Series, Sweep
from tstitch.runs.run import Run

PANEL = (5.2, 3.7)  # inches
MOST_COLUMNS = 4  # panels beside each other
FEW = 3  # curves in a picture; with more, bands, end marks and names of points would cover each other
LINES = ("-", "--", "-.", ":")
Curve = tuple[str, list[Point]]


class PlainLog(LogFormatter):
    """A log axis's labels as plain numbers: 0.6 where matplotlib writes 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def use_plain_logs(axes: Axes) -> None:
    """Make both axes logarithmic, labelled with plain numbers."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(PlainLog(minor_thresholds=(2, 0.5)))


@dataclass(frozen=True)
class Metric:
    """A metric of a sweep as it is drawn: its kind, and its key in results, which carries the number of images."""

    kind: MetricName
    key: str

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def title(self) -> str:
        """Return `FID5K` for FID, whose name carries the number of images; plain words for the others."""
        return self.key.upper() if self.name == "fid" else self.kind.title


@dataclass(frozen=True)
class Panel:
    """A plot of a metric against the fraction of the smallest model, or against time."""

    name: str
    title: str
    draw: Callable[[Axes, Sequence[Curve]], None]


def panels(sweep: Sweep) -> list[Panel]:
    """List the plots of a sweep; none is against the fraction of one model where there are three or more."""
    shown = [Metric(metric, key) for metric, key in sweep.metrics]
    if not shown:
        return [Panel("time_fraction", "time against fraction", draw_times)]
    if all(len(points) == 1 for _, _, points in sweep.curves()) and len(sweep.series) > 1:
        return [Panel(metric.name, metric.title, _bars(metric)) for metric in shown]
    listed = []
    for metric in shown:
        if len(sweep.points[0].fractions) == 2:
            title = f"{metric.title} against fraction"
            listed.append(Panel(f"{metric.name}_fraction", title, _against_fraction(metric)))
        listed.append(Panel(f"{metric.name}_time", f"{metric.title} against time", _against_time(metric)))
    return listed


def draw_curves(sweep: Sweep) -> Figure:
    """Draw all panels, in rows for each guidance scale; one point a scale is drawn over the scale."""
    scales = sweep.guidance_scales
    if len(scales) > 1 and all(len(points) == 1 for _, _, points in sweep.curves()) and len(sweep.series) == 1:
        return _draw_scan(sweep)
    shown = panels(sweep)
    columns = min(len(shown), MOST_COLUMNS)
    cells = [(scale, panel) for scale in scales for panel in shown]
    rows = len(scales) * -(-len(shown) // columns)
    with figure(PANEL[0] * columns, PANEL[1] * rows + 0.4 * (len(sweep.series) > FEW)) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).reshape(len(scales), -1)
        for of_scale in grid:
            for axes in of_scale[len(shown) :]:
                axes.set_visible(False)
        used_axes = [axes for of_scale in grid for axes in of_scale[: len(shown)]]
        for (scale, panel), axes in zip(cells, used_axes, strict=True):
            panel.draw(axes, curves_at(sweep, scale))
            axes.set_title(f"guidance scale {scale}", fontsize=10)
        _gather_legends(drawn)
    return drawn


def draw_panel(panel: Panel, sweep: Sweep, scale: float | list[float]) -> Figure:
    """Draw one panel."""
    with figure(*PANEL) as drawn:
        panel.draw(drawn.subplots(), curves_at(sweep, scale))
        _gather_legends(drawn)
    return drawn


def _gather_legends(drawn: Figure) -> None:
    """Draw one legend below all panels, where it would cover the curves inside each."""
    known = {
        label: handle for axes in drawn.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if len(known) <= FEW + 3:
        return
    for axes in drawn.axes:
        if axes.get_legend() is not None:
            axes.get_legend().remove()
    columns = max(2, int(drawn.get_figwidth() / 2.4))
    drawn.legend(known.values(), known.keys(), loc="outside lower center", ncols=columns)


def curves_at(sweep: Sweep, scale: float | list[float]) -> list[Curve]:
    """List the curves of a guidance scale, each named by the settings in which it differs from the others."""
    curves = [(series, points) for at, series, points in sweep.curves() if at == scale]
    return [(_label(series, [other for other, _ in curves]), points) for series, points in curves]


def _label(series: Series, everything: Sequence[Series]) -> str:
    varying = [
        f"{value} steps" if key == "num_steps" else str(value).replace("_", " ")
        for key, value in asdict(series).items()
        if len({getattr(other, key) for other in everything}) > 1
    ]
    return ", ".join(varying)


def _with_metric(metric: Metric, curves: Sequence[Curve]) -> list[Curve]:
    """List the curves with those of their points that have the metric."""
    kept = [(label, [p for p in points if p.metric(metric.name) is not None]) for label, points in curves]
    return [(label, points) for label, points in kept if points]


def _against_fraction(metric: Metric) -> Callable[[Axes, Sequence[Curve]], None]:
    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        curves = _with_metric(metric, curves)
        for (colour, line), (label, points) in zip(_looks(curves), curves, strict=True):
            x, y = [p.small_fraction for p in points], [p.metric(metric.name) for p in points]
            style = {"marker": "o", "markersize": 4, "color": colour, "gid": points[0].series.id}
            axes.plot(x, y, line, label=label or None, **style)
            band = _intervals(metric, points) if len(curves) <= FEW else None
            if band is not None:
                axes.fill_between(x, *band, color=colour, alpha=0.18, linewidth=0)
        large = {p.metric(metric.name) for _, points in curves for p in points if p.is_large_alone}
        if len(large) == 1:
            axes.axhline(large.pop(), color=MUTED, linestyle="--", linewidth=1, label="large model alone")
        axes.set_xlabel("fraction of steps of the small model")
        _finish(axes, metric.title, log=metric.kind.on_log_axis)

    return draw


def _against_time(metric: Metric) -> Callable[[Axes, Sequence[Curve]], None]:
    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        curves = _with_metric(metric, curves)
        for (colour, line), (label, points) in zip(_looks(curves), curves, strict=True):
            x, y = [1000 * p.seconds_per_image for p in points], [p.metric(metric.name) for p in points]
            shown_line = line if len(points[0].fractions) == 2 else "none"
            style = {"linestyle": shown_line, "marker": "o", "markersize": 4, "color": colour}
            axes.plot(x, y, label=label or None, gid=points[0].series.id, **style)
            if len(curves) == 1 and len(points[0].fractions) == 2:
                _name_fractions(axes, points, x, y)
            band = _intervals(metric, points) if len(curves) <= FEW else None
            if band is not None:
                axes.vlines(x, *band, color=colour, alpha=0.35, linewidth=1)
        everything = [point for _, points in curves for point in points]
        times = [1000 * point.seconds_per_image for point in everything]
        values = [point.metric(metric.name) for point in everything]
        front = pareto_front(times, values, higher_is_better=metric.kind.higher_is_better)
        axes.plot(
            [times[i] for i in front], [values[i] for i in front], color=INK, linewidth=1, linestyle=":",
            label="Pareto front",
        )  # fmt: skip
        for position, marker, label in ((-1, "s", "large model alone"), (0, "^", "small model alone")):
            alone = [i for i, point in enumerate(everything) if point.is_alone(position)]
            if alone and len(curves) <= FEW:
                axes.plot(
                    [times[i] for i in alone], [values[i] for i in alone], marker, markersize=9,
                    markerfacecolor="none", markeredgecolor=INK, label=label,
                )  # fmt: skip
        axes.set_xlabel("time per image (ms)")
        _finish(axes, metric.title, log=metric.kind.on_log_axis)

    return draw


def _bars(metric: Metric) -> Callable[[Axes, Sequence[Curve]], None]:
    """Draw bars: one point for each of several settings has no axis to be drawn against."""

    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        curves = _with_metric(metric, curves)
        values = [points[0].metric(metric.name) for _, points in curves]
        bars = axes.barh([label for label, _ in curves], values, color=PALETTE[0])
        axes.bar_label(bars, fmt="{:.4g}", padding=3, fontsize=8)
        axes.set_xlabel(metric.title)
        axes.invert_yaxis()

    return draw


def _looks(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Choose colour and line of each curve: the line tells the steps where samplers or orders vary too."""
    series = [points[0].series for _, points in curves]
    kinds = list(dict.fromkeys((one.sampler, one.order, one.rule, one.router) for one in series))
    steps = list(dict.fromkeys(one.num_steps for one in series))
    if len(kinds) == 1:
        return [(PALETTE[i % len(PALETTE)], "-") for i in range(len(curves))]
    return [
        (
            PALETTE[kinds.index((one.sampler, one.order, one.rule, one.router)) % len(PALETTE)],
            LINES[steps.index(one.num_steps) % len(LINES)],
        )
        for one in series
    ]


def _intervals(metric: Metric, points: Sequence[Point]) -> np.ndarray | None:
    """Return the 95% intervals (2, K), where all points have one; on a logarithmic axis they end above zero."""
    intervals = [point.interval(metric.name) for point in points]
    if None in intervals:
        return None
    low, high = np.array(intervals).T
    lowest = min(point.metric(metric.name) for point in points) / 3
    return np.array([np.maximum(low, lowest) if metric.kind.on_log_axis else low, high])


def _name_fractions(axes: Axes, points: Sequence[Point], x: Sequence[float], y: Sequence[float]) -> None:
    for index, point in enumerate(points):
        offset = (6, 5) if index % 2 == 0 else (6, -11)  # neighbours on either side of the line
        style = {"textcoords": "offset points", "xytext": offset, "fontsize": 8}
        axes.annotate(point.small_label, (x[index], y[index]), **style)


def _finish(axes: Axes, y_label: str, log: bool) -> None:
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(PlainLog(minor_thresholds=(2, 0.5)))
    if axes.get_legend_handles_labels()[1]:
        axes.legend()


def _draw_scan(sweep: Sweep) -> Figure:
    """Draw each metric against the guidance scale, where each scale has one point."""
    shown = [Metric(metric, key) for metric, key in sweep.metrics]
    points = [(float(np.mean(scale)), point) for scale, _, (point,) in sweep.curves()]
    with figure(len(shown) * PANEL[0], PANEL[1]) as drawn:
        for axes, metric in zip(drawn.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            values = [(scale, value) for scale, p in points if (value := p.metric(metric.name)) is not None]
            axes.plot(*zip(*values, strict=True), marker="o", markersize=4, color=PALETTE[0])
            axes.set_xlabel("guidance scale")
            _finish(axes, metric.title, log=False)
    return drawn


def draw_strip(runs: Sequence[tuple[Point, Run]], num_rows: int = 10, image_size: int = 64) -> Figure:
    """Draw a row for each class, a column for each point: the same image index, so the same noise."""
    rows = first_of_each_class(runs[0][1], num_rows)
    is_rounded = any(point.asked_otherwise for point, _ in runs)
    with figure(0.75 * len(runs) + 0.6, 0.75 * len(rows) + 0.7) as drawn:
        grid = drawn.subplots(len(rows), len(runs), squeeze=False)
        for column, (point, run) in enumerate(runs):
            images = read_images(run, list(rows.values()))
            for row, (label, image) in enumerate(zip(rows, images, strict=True)):
                axes = grid[row, column]
                axes.imshow(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.NEAREST))
                axes.set_xticks([])
                axes.set_yticks([])
                if column == 0:
                    axes.set_ylabel(str(label), rotation=0, ha="right", va="center")
            grid[0, column].set_title(point.small_label.replace(" (", "\n("), fontsize=7 if is_rounded else 9)
        wide = "fraction of steps of the smaller models; the same noise and label across a row"
        drawn.supxlabel(wide if len(runs) > 5 else "fraction", fontsize=9)
    return drawn
