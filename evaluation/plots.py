"""The pictures of a sweep: trade-off curves and the image strip."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter
from PIL import Image

from evaluation.figures import INK, MUTED, PALETTE, figure
from evaluation.pareto import pareto_front
from evaluation.sweep import Point, Series, Sweep
from tstitch.allocation import show_fractions
from tstitch.run import Run
from tstitch.shards import read_shards

PANEL = (5.2, 3.7)  # inches
FEW = 3  # curves in a picture; with more, bands, end marks and names of points would cover each other
LINES = ("-", "--", "-.", ":")
Curve = tuple[str, list[Point]]


class PlainLog(LogFormatter):
    """0.6 where matplotlib writes 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


@dataclass(frozen=True)
class Panel:
    """A picture of its own: a metric against the fraction of the smallest model, or against time."""

    name: str
    title: str
    draw: Callable[[Axes, Sequence[Curve]], None]


def panels(sweep: Sweep) -> list[Panel]:
    """What is drawn of a sweep; where there are three models or more the fraction of one says little."""
    found = []
    names = {"fid": sweep.fid_name.upper(), "inception_score": "Inception Score"}
    if all(len(points) == 1 for _, _, points in sweep.curves()) and len(sweep.series) > 1:
        return [Panel(metric, name, _bars(metric, name)) for metric, name in names.items()]
    for metric, name in names.items():
        if len(sweep.points[0].fractions) == 2:
            found.append(Panel(f"{metric}_fraction", f"{name} against fraction", _against_fraction(metric, name)))
        found.append(Panel(f"{metric}_time", f"{name} against time", _against_time(metric, name)))
    return found


def draw_curves(sweep: Sweep) -> Figure:
    """All panels in a row, and a row for each guidance scale; one point a scale is drawn over the scale."""
    scales = sweep.guidance_scales
    if len(sweep.points) == len(scales) > 1:
        return _draw_scan(sweep)
    shown = panels(sweep)
    with figure(PANEL[0] * len(shown), PANEL[1] * len(scales) + 0.4 * (len(sweep.series) > FEW)) as drawn:
        for row, scale in zip(drawn.subplots(len(scales), len(shown), squeeze=False), scales, strict=True):
            for axes, panel in zip(row, shown, strict=True):
                panel.draw(axes, curves_at(sweep, scale))
                axes.set_title(f"guidance scale {scale}", fontsize=10)
        _gather_legends(drawn)
    return drawn


def draw_panel(panel: Panel, sweep: Sweep, scale: float | list[float]) -> Figure:
    """One panel alone."""
    with figure(*PANEL) as drawn:
        panel.draw(drawn.subplots(), curves_at(sweep, scale))
        _gather_legends(drawn)
    return drawn


def _gather_legends(drawn: Figure) -> None:
    """One legend below all panels, where it would cover the curves inside each."""
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
    """The curves of a guidance scale, each named by what tells it from the others."""
    found = [(series, points) for at, series, points in sweep.curves() if at == scale]
    return [(_label(series, [other for other, _ in found]), points) for series, points in found]


def _label(series: Series, everything: Sequence[Series]) -> str:
    varying = [
        f"{value} steps" if key == "num_steps" else str(value).replace("_", " ")
        for key, value in asdict(series).items()
        if len({getattr(other, key) for other in everything}) > 1
    ]
    return ", ".join(varying)


def _against_fraction(metric: str, name: str) -> Callable[[Axes, Sequence[Curve]], None]:
    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        for (colour, line), (label, points) in zip(_looks(curves), curves, strict=True):
            x, y = [p.small_fraction for p in points], [p.metric(metric) for p in points]
            axes.plot(x, y, line, marker="o", markersize=4, color=colour, label=label or None)
            band = _intervals(metric, points) if len(curves) <= FEW else None
            if band is not None:
                axes.fill_between(x, *band, color=colour, alpha=0.18, linewidth=0)
        large = [p.metric(metric) for _, points in curves for p in points if p.is_large_alone]
        if len(large) == 1:
            axes.axhline(large[0], color=MUTED, linestyle="--", linewidth=1, label="large model alone")
        axes.set_xlabel("fraction of steps of the small model")
        _finish(axes, name, log=metric == "fid")

    return draw


def _against_time(metric: str, name: str) -> Callable[[Axes, Sequence[Curve]], None]:
    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        for (colour, line), (label, points) in zip(_looks(curves), curves, strict=True):
            x, y = [1000 * p.seconds_per_image for p in points], [p.metric(metric) for p in points]
            shown_line = line if len(points[0].fractions) == 2 else "none"
            axes.plot(x, y, linestyle=shown_line, marker="o", markersize=4, color=colour, label=label or None)
            if len(curves) == 1 and len(points[0].fractions) == 2:
                _name_fractions(axes, points, x, y)
            band = _intervals(metric, points) if len(curves) <= FEW else None
            if band is not None:
                axes.vlines(x, *band, color=colour, alpha=0.35, linewidth=1)
        everything = [point for _, points in curves for point in points]
        times = [1000 * point.seconds_per_image for point in everything]
        values = [point.metric(metric) for point in everything]
        front = pareto_front(times, values, higher_is_better=metric != "fid")
        axes.plot(
            [times[i] for i in front], [values[i] for i in front], color=INK, linewidth=1, linestyle=":",
            label="Pareto front",
        )  # fmt: skip
        for position, marker, label in ((-1, "s", "large model alone"), (0, "^", "small model alone")):
            alone = [i for i, point in enumerate(everything) if point.fractions[position] == 1]
            if alone and len(curves) <= FEW:
                axes.plot(
                    [times[i] for i in alone], [values[i] for i in alone], marker, markersize=9,
                    markerfacecolor="none", markeredgecolor=INK, label=label,
                )  # fmt: skip
        axes.set_xlabel("time per image (ms)")
        _finish(axes, name, log=metric == "fid")

    return draw


def _bars(metric: str, name: str) -> Callable[[Axes, Sequence[Curve]], None]:
    """One point for each of several settings: there is nothing to draw it against."""

    def draw(axes: Axes, curves: Sequence[Curve]) -> None:
        values = [points[0].metric(metric) for _, points in curves]
        bars = axes.barh([label for label, _ in curves], values, color=PALETTE[0])
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.set_xlabel(name)
        axes.invert_yaxis()

    return draw


def _looks(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Colour and line of each curve: where both samplers or orders and steps vary, the line tells the steps."""
    series = [points[0].series for _, points in curves]
    kinds = list(dict.fromkeys((one.sampler, one.order, one.rule) for one in series))
    steps = list(dict.fromkeys(one.num_steps for one in series))
    if len(kinds) == 1:
        return [(PALETTE[i % len(PALETTE)], "-") for i in range(len(curves))]
    return [
        (
            PALETTE[kinds.index((one.sampler, one.order, one.rule)) % len(PALETTE)],
            LINES[steps.index(one.num_steps) % len(LINES)],
        )
        for one in series
    ]


def _intervals(metric: str, points: Sequence[Point]) -> np.ndarray | None:
    """The 95% intervals (2, K), where all points have one. FID's may reach below zero, where a logarithm ends."""
    found = [point.interval(metric) for point in points]
    if None in found:
        return None
    low, high = np.array(found).T
    lowest = min(point.fid for point in points) / 3
    return np.array([np.maximum(low, lowest) if metric == "fid" else low, high])


def _name_fractions(axes: Axes, points: Sequence[Point], x: Sequence[float], y: Sequence[float]) -> None:
    for index, point in enumerate(points):
        offset = (6, 5) if index % 2 == 0 else (6, -11)  # neighbours on either side of the line
        place = {"textcoords": "offset points", "xytext": offset, "fontsize": 8}
        axes.annotate(f"{point.small_fraction:g}", (x[index], y[index]), **place)


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
    """One point for each guidance scale: FID and Inception Score against the scale."""
    with figure(2 * PANEL[0], PANEL[1]) as drawn:
        scales = [float(np.mean(scale)) for scale in sweep.guidance_scales]
        for axes, metric in zip(drawn.subplots(1, 2), ("fid", "inception_score"), strict=True):
            values = [point.metric(metric) for point in sweep.points]
            axes.plot(scales, values, marker="o", markersize=4, color=PALETTE[0])
            axes.set_xlabel("guidance scale")
            _finish(axes, sweep.fid_name.upper() if metric == "fid" else "Inception Score", log=False)
    return drawn


def draw_strip(runs: Sequence[tuple[Point, Run]], num_rows: int = 10, image_size: int = 64) -> Figure:
    """One row for each class, one column for each point: the same image index, so the same noise."""
    rows = first_of_each_class(runs[0][1], num_rows)
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
            grid[0, column].set_title(show_fractions(point.fractions[:-1]), fontsize=9)
        wide = "fraction of steps of the smaller models; the same noise and label across a row"
        drawn.supxlabel(wide if len(runs) > 5 else "fraction", fontsize=9)
    return drawn


def first_of_each_class(run: Run, num_rows: int) -> dict[int, int]:
    """Class -> index of its first image, for the lowest `num_rows` classes among the first shards."""
    found: dict[int, int] = {}
    for block, shard in zip(run.blocks, read_shards(run.shards, run.blocks, run.id), strict=True):
        for offset, label in enumerate(shard.labels.tolist()):
            found.setdefault(label, block.start + offset)
        if len(found) >= num_rows:
            break
    return dict(sorted(found.items())[:num_rows])


def read_images(run: Run, indices: Sequence[int]) -> list[np.ndarray]:
    """Images (H, W, 3) uint8 of a run by their index."""
    wanted = [next(block for block in run.blocks if block.start <= index < block.stop) for index in indices]
    shards = {block: shard for block in set(wanted) for shard in read_shards(run.shards, [block], run.id)}
    return [shards[block].images[index - block.start] for block, index in zip(wanted, indices, strict=True)]
