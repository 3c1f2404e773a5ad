"""Images of a sweep by fraction and class, as a page shows them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.report.images_of_run import first_of_each_class, read_images
from evaluation.report.sweep import Scale, Sweep
from tstitch.runs.run import load_run

NUM_CLASSES = 10


@dataclass(frozen=True)
class Strip:
    """Images of one guidance scale: a column for each fraction, a row for each class, the same noise along a row.

    `images` are (H, W, 3) uint8 by row, then column; `path` is the strip that `scripts.sweep` drew, where there is one.
    `curve` is the id of its points' line in the plots.
    """

    scale: Scale
    fractions: list[str]
    labels: list[int]
    images: list[list[np.ndarray]]
    path: Path | None
    curve: str


def make_strip(sweep: Sweep, directory: Path) -> Strip:
    """Read the images of the sweep's first curve: the first of each class."""
    scale, _, points = sweep.curves()[0]
    runs = [load_run(directory / point.run) for point in points]
    rows = first_of_each_class(runs[0], NUM_CLASSES)
    columns = [read_images(run, list(rows.values())) for run in runs]
    path = directory / "strip.png"
    fractions = [point.small_label for point in points]
    images = [list(row) for row in zip(*columns, strict=True)]
    return Strip(scale, fractions, list(rows), images, path if path.is_file() else None, points[0].series.id)
