"""Ways to mix two models beside the first steps for the small one, at the same measured time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from evaluation.metrics.influence import FIDSpread
from evaluation.metrics.spread import Spread
from evaluation.report.figures import INK, PALETTE, figure
from evaluation.report.pareto import pareto_front
from evaluation.report.plots import use_plain_logs
from evaluation.report.render import Table
from evaluation.report.sweep import Point
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions

FIRST = "small to large"  # T-Stitch's order
SAME_TIME = 1.02  # times that differ by less count as one
BETTER, OPEN, WORSE = "better", "open", "worse"
COLUMNS = 3


@dataclass(frozen=True)
class Mixed:
    """A sweep of ways to mix two models: all points with one noise, most of them with one number of steps.

    Attributes:
        fids: of the points, in their order.
        diversity: of each point, the distance between two images of a class in the features.
    """

    pair: str
    points: list[Point]
    fids: FIDSpread
    diversity: list[float]

    @property
    def num_steps(self) -> int:
        return Counter(point.num_steps for point in self.points).most_common(1)[0][0]

    @property
    def name(self) -> str:
        return f"{self.pair}, {self.num_steps} steps"

    def of(self, method: str) -> list[int]:
        """List the points of a method, by the share of the small model."""
        own = [k for k, point in enumerate(self.points) if method in methods_of(point, self.num_steps)]
        return sorted(own, key=lambda k: self.points[k].small_fraction)

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(name for point in self.points for name in methods_of(point, self.num_steps)))

    def levels(self, index: int) -> float | None:
        """The distance of a point's images from the large model's own ones; None where there are none to compare."""
        point = self.points[index]
        is_large = point.is_large_alone and point.num_steps == self.num_steps
        return 0.0 if is_large else point.distance_from_large


def methods_of(point: Point, num_steps: int) -> list[str]:
    """Name the methods that led to a point: an order, a router with its settings, or a model alone with other steps."""
    every = [series for _, series in point.curves]
    names = [own.order.replace("_", " ") if own.router == ALLOCATION else own.router for own in every]
    if point.is_large_alone or point.is_alone(0):
        names = [FIRST if point.num_steps == num_steps else f"the {'large' if point.is_large_alone else 'small'} model"]
    return list(dict.fromkeys(name if point.num_steps == num_steps else f"{name}, other steps" for name in names))


def judge(mixed: Mixed, index: int) -> tuple[str, Spread | None]:
    """Hold a point against the first steps for the small model at the same time.

    It is worse where its FID is above that of the best such point that takes as long or less, and better where it is
    below that of the cheapest one that takes as long or longer; each by more than the 95% interval. Between two of
    them a line is not drawn.

    Returns:
        the verdict, and the difference of FID that decided it; None where it is open, as of a run that both ask for.
    """
    seconds = [point.seconds_per_image for point in mixed.points]
    first = mixed.of(FIRST)
    if index in first:
        return OPEN, None
    cheaper = [k for k in first if seconds[k] <= seconds[index] * SAME_TIME]
    if cheaper:
        against_best = mixed.fids.difference(min(cheaper, key=mixed.fids.values.__getitem__), index)
        if against_best.interval[0] > 0:
            return WORSE, against_best
    dearer = [k for k in first if seconds[k] * SAME_TIME >= seconds[index]]
    if dearer:
        against_dearer = mixed.fids.difference(min(dearer, key=seconds.__getitem__), index)
        if against_dearer.interval[1] < 0:
            return BETTER, against_dearer
    return OPEN, None


def verdicts_table(mixed: Sequence[Mixed]) -> Table:
    """Count the verdicts of each method in each sweep."""
    methods = list(dict.fromkeys(name for own in mixed for name in own.methods if name != FIRST))
    rows = []
    for method in methods:
        cells = []
        for own in mixed:
            counts = Counter(judge(own, k)[0] for k in own.of(method))
            cells.append("/".join(str(counts[verdict]) for verdict in (BETTER, OPEN, WORSE)) if counts else None)
        rows.append([method, *cells])
    notes = [
        "Points that are better / not decided / worse than the first steps for the small model, at the same time "
        "(within 2%), by the 95% interval of the paired difference in FID. A point between two of theirs in time is "
        "better if it beats the slower one, and worse if the faster one beats it."
    ]
    return Table("Which wins where", ["method", *(own.name for own in mixed)], rows, notes)


def budgets_table(mixed: Sequence[Mixed]) -> Table:
    """Name the best point within the time of each point of the first steps for the small model."""
    columns = ["sweep", "ms", "FID of the first steps", "best within it", "FID", "difference", "low95", "high95"]
    columns += ["as good as it", "nearest to the large model's images", "levels", "levels of the first steps"]
    rows = []
    for own in mixed:
        values, seconds = own.fids.values, [point.seconds_per_image for point in own.points]
        for budget in sorted(own.of(FIRST), key=seconds.__getitem__):
            within = [k for k in range(len(values)) if seconds[k] <= SAME_TIME * seconds[budget]]
            best = min(within, key=values.__getitem__)
            spread = own.fids.difference(budget, best)
            alike = [k for k in within if k != best and own.fids.difference(best, k).interval[0] <= 0]
            distances = {k: distance for k in within if (distance := own.levels(k)) is not None}
            nearest = min(distances, key=distances.__getitem__) if distances else None
            row = [own.name, f"{1000 * seconds[budget]:.1f}", float(values[budget]), _title(own, best)]
            row += [float(values[best]), spread.value, *spread.interval, f"{len(alike)} of {len(within) - 1}"]
            row += [None, None] if nearest is None else [_title(own, nearest), distances[nearest]]
            rows.append([*row, distances.get(budget)])
    notes = [
        "The best of many is favoured by chance; the interval is of its paired difference from the first steps for the "
        "small model in that time. Levels: root mean square distance, of 255, from the large model's own images with "
        "the same noise."
    ]
    formats = dict.fromkeys(("difference", "low95", "high95"), "+.2f")
    return Table("The best within a time", columns, rows, notes, formats=formats)


def same_share_table(mixed: Sequence[Mixed]) -> Table:
    """Compare each method with the first steps for the small model, where both give it the same share of the steps."""
    compared = [_at_same_share(own) for own in mixed]
    keys = sorted({key for own in compared for key in own})
    rows, agreed, told_apart = [], 0, 0
    for method, fraction in keys:
        cells = []
        for own in compared:
            spread, farther = own.get((method, fraction), (None, None))
            if spread is None:
                cells.append(None)
                continue
            low, high = spread.interval
            text = f"{spread.value:+.2f} ({low:+.2f} to {high:+.2f})"
            cells.append(text if farther is None else f"{text}, {farther:+.1f}")
            if farther is not None and (low > 0 or high < 0):
                told_apart += 1
                agreed += (spread.value > 0) == (farther > 0)
        rows.append([method, f"{fraction:g}", *cells])
    notes = [
        "Difference in FID from the first steps for the small model at the same share, with its 95% interval; then by "
        "how many of 255 levels the images are farther from those of the large model at its own guidance scale."
    ]
    if told_apart:
        notes += [
            f"Of {told_apart} differences in FID with an interval without 0, {agreed} have that sign in distance."
        ]
    return Table("At the same share of the small model", ["method", "share", *(own.name for own in mixed)], rows, notes)


def _at_same_share(mixed: Mixed) -> dict[tuple[str, float], tuple[Spread, float | None]]:
    """Differences in FID and in distance by method and share; the large model alone at other steps has none."""
    first = {round(mixed.points[k].small_fraction, 3): k for k in mixed.of(FIRST)}
    compared = {}
    for method in mixed.methods:
        for k in mixed.of(method):
            point = mixed.points[k]
            share = round(point.small_fraction, 3)
            rival = first.get(share)
            if method == FIRST or rival is None or point.num_steps != mixed.num_steps or point.knob is not None:
                continue
            ours, theirs = mixed.levels(k), mixed.levels(rival)
            farther = None if ours is None or theirs is None else ours - theirs
            compared[method, share] = mixed.fids.difference(rival, k), farther
    return compared


def points_table(mixed: Sequence[Mixed]) -> Table:
    """List every point, for the CSV file."""
    columns = ["sweep", "method", "small share", "steps", "knob", "guidance scale", "ms", "FID", "low95", "high95"]
    columns += ["levels from the large model", "diversity", "evaluations", "verdict", "difference", "difference std"]
    rows = []
    for own in mixed:
        for k, point in enumerate(own.points):
            verdict, spread = judge(own, k)
            of_itself = own.fids.spread(k)
            for method in methods_of(point, own.num_steps):
                row = [own.name, method, point.small_fraction, float(point.num_steps), point.knob]
                row += [str(point.guidance_scale), 1000 * point.seconds_per_image, of_itself.value]
                row += [*of_itself.interval, own.levels(k), own.diversity[k], sum(point.evaluations.values()) or None]
                row += [None, None, None] if method == FIRST else [
                    verdict, spread and spread.value, spread and spread.std
                ]  # fmt: skip
                rows.append(row)
    return Table("All points", columns, rows, [])


def draw_mixtures(mixed: Sequence[Mixed]) -> Figure:
    """Draw FID against time for each sweep, a colour for each family of methods, and the front of all."""
    columns = min(COLUMNS, len(mixed))
    rows = -(-len(mixed) // columns)
    width = max(7.4, 5 * columns)
    families = list(dict.fromkeys(_family(name) for own in mixed for name in own.methods))
    with figure(width, 3.9 * rows + 0.8) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).flatten()
        for axes, own in zip(grid, mixed, strict=False):
            ms = [1000 * point.seconds_per_image for point in own.points]
            for name in own.methods:
                shown = own.of(name)
                number = families.index(_family(name))
                look = "o-" if name == FIRST else "o^"[number // len(PALETTE)]
                axes.plot(
                    [ms[k] for k in shown], own.fids.values[shown], look, markersize=3.5, linewidth=1,
                    color=PALETTE[number % len(PALETTE)], label=families[number],
                )  # fmt: skip
            front = pareto_front(ms, own.fids.values)
            intervals = [own.fids.spread(k).interval for k in front]
            axes.vlines([ms[k] for k in front], *zip(*intervals, strict=True), alpha=0.3, linewidth=1, color=INK)
            axes.plot([ms[k] for k in front], own.fids.values[front], ":", color=INK, label="front of all")
            axes.set(title=own.name, xlabel="time per image (ms)", ylabel="FID")
            use_plain_logs(axes)
            axes.grid(alpha=0.25)
        for axes in grid[len(mixed) :]:
            axes.set_visible(False)
        known = {text: line for axes in grid for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        drawn.legend(known.values(), known.keys(), loc="outside lower center", ncols=int(width / 2.4))
    return drawn


def _family(method: str) -> str:
    """The family of a method: a router without its settings; orders other than the first are one."""
    if method == FIRST or method.endswith("other steps"):
        return method
    is_order = any(word in method for word in ("large to small", "interleave", "random", "ends"))
    return "other orders" if is_order else method.split()[0].replace("_", " ")


def _title(mixed: Mixed, index: int) -> str:
    point = mixed.points[index]
    method = methods_of(point, mixed.num_steps)[0]
    what = point.knob or (f"{point.num_steps} steps" if point.num_steps != mixed.num_steps else None)
    return f"{method}, {what or show_fractions(point.fractions)}"
