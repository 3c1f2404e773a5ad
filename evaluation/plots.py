"""The pictures of a sweep: the trade-off curve and the image strip."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from evaluation.sweep import Point, Sweep
from tstitch.run import Run
from tstitch.shards import read_shards

matplotlib.rcParams["svg.hashsalt"] = "tstitch"
COLOUR, REFERENCE_COLOUR = "#1f5fa8", "#8a8f98"


def plot_curve(sweep: Sweep, path: Path) -> None:
    """FID and Inception Score against the fraction, FID against time; a row for each guidance scale."""
    scales = sweep.guidance_scales
    if len(sweep.points) == len(scales) > 1:
        return _plot_scan(sweep, path)
    figure = Figure(figsize=(12, 3.6 * len(scales)), layout="constrained")
    for row, scale in zip(figure.subplots(len(scales), 3, squeeze=False), scales, strict=True):
        points = sweep.at_scale(scale)
        fractions = [point.small_fraction for point in points]
        fid, time_ms = [point.fid for point in points], [1000 * point.seconds_per_image for point in points]
        _line(row[0], fractions, fid, "fraction of steps of the smallest model", sweep.fid_name.upper())
        _line(row[1], fractions, [p.inception_score for p in points], row[0].get_xlabel(), "Inception Score")
        _line(row[2], time_ms, fid, "time per image (ms)", sweep.fid_name.upper())
        intervals = [point.fid_interval for point in points]
        if None not in intervals:
            low, high = zip(*intervals, strict=True)
            row[0].fill_between(fractions, low, high, color=COLOUR, alpha=0.15, linewidth=0, label="95% by chance")
            row[0].set_ylim(0.6 * min(fid), 1.6 * max(fid))  # an interval may reach below zero
            row[0].legend(loc="upper left", frameon=False)
        row[0].axhline(fid[0], color=REFERENCE_COLOUR, linestyle="--", linewidth=1)
        for axes in (row[0], row[2]):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))
        for index, (x, y, fraction) in enumerate(zip(time_ms, fid, fractions, strict=True)):
            offset = (5, 5) if index % 2 == 0 else (5, -11)  # neighbours on either side of the line
            row[2].annotate(f"{fraction:g}", (x, y), textcoords="offset points", xytext=offset, fontsize=8)
        row[1].set_title(f"guidance scale {scale}")
    figure.savefig(path, dpi=110)
    return None


def _plot_scan(sweep: Sweep, path: Path) -> None:
    """One point for each guidance scale: FID and Inception Score against the scale."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    scales = [float(np.mean(scale)) for scale in sweep.guidance_scales]
    _line(left, scales, [point.fid for point in sweep.points], "guidance scale", sweep.fid_name.upper())
    _line(right, scales, [p.inception_score for p in sweep.points], "guidance scale", "Inception Score")
    figure.savefig(path, dpi=110)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], x_label: str, y_label: str) -> None:
    axes.plot(x, y, marker="o", markersize=4, color=COLOUR)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)


def plot_strip(runs: Sequence[tuple[Point, Run]], path: Path, num_rows: int = 10, image_size: int = 64) -> None:
    """One row for each class, one column for each point: the same image index, so the same noise."""
    rows = _first_of_each_class(runs[0][1], num_rows)
    figure = Figure(figsize=(0.75 * len(runs) + 0.6, 0.75 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), len(runs), squeeze=False)
    for column, (point, run) in enumerate(runs):
        images = _read_images(run, list(rows.values()))
        for row, (label, image) in enumerate(zip(rows, images, strict=True)):
            axes = grid[row, column]
            axes.imshow(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.NEAREST))
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(str(label), rotation=0, ha="right", va="center")
        grid[0, column].set_title("/".join(f"{f:g}" for f in point.fractions[:-1]), fontsize=9)
    wide = "fraction of steps of the smaller models; the same noise and label across a row"
    figure.supxlabel(wide if len(runs) > 5 else "fraction", fontsize=9)
    figure.savefig(path, dpi=110)


def _first_of_each_class(run: Run, num_rows: int) -> dict[int, int]:
    """Class -> index of its first image, for the lowest `num_rows` classes among the first shards."""
    found: dict[int, int] = {}
    for block, shard in zip(run.blocks, read_shards(run.shards, run.blocks, run.id), strict=True):
        for offset, label in enumerate(shard.labels.tolist()):
            found.setdefault(label, block.start + offset)
        if len(found) >= num_rows:
            break
    return dict(sorted(found.items())[:num_rows])


def _read_images(run: Run, indices: Sequence[int]) -> list[np.ndarray]:
    wanted = [next(block for block in run.blocks if block.start <= index < block.stop) for index in indices]
    shards = {block: shard for block in set(wanted) for shard in read_shards(run.shards, [block], run.id)}
    return [shards[block].images[index - block.start] for block, index in zip(wanted, indices, strict=True)]
