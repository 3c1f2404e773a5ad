"""The best FID within a time with one model, with two, with three, and the gain of each model more."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from evaluation.metrics.influence import FIDSpread
from evaluation.report.figures import PALETTE, figure
from evaluation.report.pareto import pareto_front
from evaluation.report.plots import use_plain_logs
from evaluation.report.render import Table
from evaluation.report.sweep import Point
from tstitch.allocation import show_fractions

NUM_TIMES = 8
COUNTS = ("no model", "one model", "two models", "three models", "four models", "five models")


@dataclass(frozen=True)
class Scored:
    """Points with one noise, with their FIDs and the names of their pairs in the same order."""

    points: list[Point]
    fids: FIDSpread
    pairs: list[str]

    @property
    def seconds(self) -> list[float]:
        return [point.seconds_per_image for point in self.points]

    @property
    def most_models(self) -> int:
        return max(map(num_models, self.points))

    def front(self, most: int) -> list[int]:
        """List the points of at most so many models that no other such point beats, from the fastest on."""
        own = [k for k, point in enumerate(self.points) if num_models(point) <= most]
        front = pareto_front([self.seconds[k] for k in own], [self.fids.values[k] for k in own])
        return [own[position] for position in front]

    def best_within(self, seconds: float, most: int) -> int | None:
        """Return the point of least FID within a time, of at most so many models; None where none is as fast."""
        within = [k for k in self.front(most) if self.seconds[k] <= seconds]
        return within[-1] if within else None


def num_models(point: Point) -> int:
    """How many models take a step."""
    return sum(share > 0 for share in point.fractions)


def model_fronts_table(scored: Scored) -> Table:
    """Make the table of times, with the best point of each number of models and what a model more gains there."""
    most = scored.most_models
    columns = ["ms", f"FID, {COUNTS[1]}", "steps"]
    for count in range(2, most + 1):
        columns += [f"FID, {COUNTS[count]}", f"steps, {COUNTS[count]}", f"gain of model {count}"]
    gains: dict[int, list[bool]] = {count: [] for count in range(2, most + 1)}
    rows = []
    for seconds in times_of(scored):
        best = [scored.best_within(seconds, count) for count in range(1, most + 1)]
        row = [f"{1000 * seconds:.1f}", *_named(scored, best[0])]
        for count, (before, after) in enumerate(pairwise(best), start=2):
            row += [*_named(scored, after), _gain(scored, before, after)]
            if before is not None and after is not None:
                gains[count].append(scored.fids.difference(before, after).interval[1] < 0)
        rows.append(row)
    notes = [
        f"Model {count} lowers FID by more than the 95% interval at {sum(told)} of {len(told)} times."
        for count, told in gains.items()
        if told
    ]
    notes.append(
        "The best point within a time, of at most so many models: its shares of the steps, small to large, and how "
        "many steps. The gain is the paired difference in FID; the best of many is favoured by chance."
    )
    return Table("What each model more gains", columns, rows, notes)


def times_of(scored: Scored) -> np.ndarray:
    """Times (s) from the fastest to the slowest point of the front, evenly spaced in the logarithm."""
    front = scored.front(scored.most_models)
    first, last = (scored.seconds[front[end]] for end in (0, -1))
    if first == last:
        return np.array([first])
    times = np.geomspace(first, last, NUM_TIMES)
    times[[0, -1]] = first, last  # without rounding, which would leave these points out
    return times


def draw_model_fronts(scored: Scored) -> Figure:
    """Draw every point, and the front of each number of models."""
    with figure(7.4, 4.6) as drawn:
        axes = drawn.subplots()
        for count in range(1, scored.most_models + 1):
            colour = PALETTE[(count - 1) % len(PALETTE)]
            own = [k for k, point in enumerate(scored.points) if num_models(point) == count]
            axes.plot(
                [1000 * scored.seconds[k] for k in own], scored.fids.values[own], "o", markersize=3, alpha=0.35,
                color=colour,
            )  # fmt: skip
            front = scored.front(count)
            if not front:
                continue
            ms = [1000 * scored.seconds[k] for k in front]
            axes.step(
                ms, scored.fids.values[front], where="post", color=colour, linewidth=1 + scored.most_models - count,
                label=COUNTS[1] if count == 1 else f"up to {COUNTS[count]}",
            )  # fmt: skip
            intervals = [scored.fids.spread(k).interval for k in front]
            axes.vlines(ms, *zip(*intervals, strict=True), color=colour, alpha=0.3, linewidth=1)
        axes.set(xlabel="time per image (ms)", ylabel="FID")
        use_plain_logs(axes)
        axes.grid(alpha=0.25)
        axes.legend()
    return drawn


def _named(scored: Scored, index: int | None) -> list[float | str | None]:
    if index is None:
        return [None, None]
    point = scored.points[index]
    pair = f"{scored.pairs[index]} " if len(set(scored.pairs)) > 1 else ""
    return [float(scored.fids.values[index]), f"{pair}{show_fractions(point.fractions)} of {point.num_steps}"]


def _gain(scored: Scored, before: int | None, after: int | None) -> str | None:
    if before is None or after is None:
        return None
    if before == after:
        return "0"
    spread = scored.fids.difference(before, after)
    low, high = spread.interval
    return f"{spread.value:+.2f} ({low:+.2f} to {high:+.2f})"
