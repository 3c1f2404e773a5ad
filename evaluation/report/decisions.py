"""The images of a point whose router decided image by image: how many decided what, and those at the two ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.report.figures import PALETTE, figure
from evaluation.report.images_of_run import read_images
from evaluation.report.sweep import Point, Sweep
from tstitch.runs.run import Run, load_run
from tstitch.runs.shards import read_decisions

SHOWN = 8  # images of each end


@dataclass(frozen=True)
class Ending:
    """Images (H, W, 3) uint8 of one end, and the lowest and highest number that they decided."""

    images: list[np.ndarray]
    values: tuple[int, int]

    @property
    def title(self) -> str:
        """The number, or both where they differ."""
        low, high = self.values
        return f"{low}" if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Decided:
    """One decision of a point: its name, a histogram over all images, the images of the least and of the most."""

    title: str
    name: str
    figure: Figure
    least: Ending
    most: Ending


def decided_in(sweep: Sweep, directory: Path) -> list[Decided]:
    """Read what the images of a sweep's points decided."""
    runs = ((point, load_run(directory / point.run)) for point in sweep.points if point.decisions)
    return [own for point, run in runs for own in decided_at(point, run)]


def decided_at(point: Point, run: Run) -> list[Decided]:
    """Read what the images of a point decided, in as many numbers as each made one of."""
    made = []
    for key, values in read_decisions(run.shards, run.blocks, run.id).items():
        if key not in point.decisions or values.ndim != 1:
            continue
        name, order = key.replace("_", " "), np.argsort(values, kind="stable")
        num_shown = max(1, min(SHOWN, len(order) // 2))  # no image is of both ends
        ends = [_ending(run, values, own) for own in (order[:num_shown], order[-num_shown:][::-1])]
        title = f"{point.router} {point.knob or point.label}"
        made.append(Decided(title, name, draw_decisions(values, name, point.num_steps), *ends))
    return made


def _ending(run: Run, values: np.ndarray, chosen: Sequence[int]) -> Ending:
    own = values[chosen]
    return Ending(read_images(run, [int(index) for index in chosen]), (int(own.min()), int(own.max())))


def draw_decisions(values: np.ndarray, name: str, num_steps: int) -> Figure:
    """Draw how many images decided each number (N,)."""
    counts = np.bincount(values, minlength=num_steps + 1)
    with figure(6.4, 2.4) as drawn:
        axes = drawn.subplots()
        axes.bar(range(len(counts)), counts, color=PALETTE[0], width=0.9)
        axes.set_xlabel(f"{name}, of {num_steps} steps")
        axes.set_ylabel("images")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    return drawn
