"""The plot of where an image's time goes."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report.figures import PALETTE, figure
from evaluation.report.sweep import Point
from evaluation.speed.latency import REST


def draw_stages(points: Sequence[Point]) -> Figure:
    """Draw a bar for each point, stacked of its stages in milliseconds."""
    names = _stage_names(points)
    with figure(7.5, 0.42 * max(3, len(points)) + 1.2) as drawn:
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
    """List the denoisers, small to large as points with more of the small ones come later, then the other stages."""
    names = dict.fromkeys(name for point in reversed(points) for name in point.stages_s_per_image)
    after = [name for name in names if name in ("autoencoder", REST)]
    return [name for name in names if name not in after] + after


def draw_times(axes: Axes, curves: Sequence[tuple[str, list[Point]]]) -> None:
    """Draw milliseconds of an image against the fraction of the smallest model; curves have a name and points."""
    for colour, (label, points) in zip(cycle(PALETTE), curves, strict=False):
        x, y = [p.small_fraction for p in points], [1000 * p.seconds_per_image for p in points]
        axes.plot(x, y, marker="o", markersize=4, color=colour, label=label or None)
    axes.set_xlabel("fraction of steps of the small model")
    axes.set_ylabel("time per image (ms)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
