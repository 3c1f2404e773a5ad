"""Ways to mix two models beside the first steps for the small one, at the same measured time."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.metrics.halves import HalvesSpread
from evaluation.metrics.influence import FIDSpread
from evaluation.metrics.spread import Spread
from evaluation.report.render import Table
from evaluation.report.sweep import Point
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions

FIRST = "small to large"  # T-Stitch's order
SAME_TIME = 1.02  # times that differ by less count as one
BETTER, OPEN, WORSE = "better", "open", "worse"
FID, LEVELS, DIVERSITY = "FID", "levels from the large model", "diversity"
INCEPTION_SCORE, PRECISION, RECALL = "Inception Score", "precision", "recall"
HIGHER_IS_BETTER = (DIVERSITY, INCEPTION_SCORE, PRECISION, RECALL)
EVALUATIONS = ("evaluations of the small model", "of the large")
EVERY = 2  # of the points of the first steps for the small model, one in so many is a time to choose within


@dataclass(frozen=True)
class Mixed:
    """A sweep of ways to mix two models: all points with one noise, most of them with one number of steps.

    Attributes:
        denoisers: names, small and large.
        scores: FID and others of the points, in their order; `LEVELS` only where the large model alone is among them.
    """

    pair: str
    denoisers: tuple[str, str]
    points: list[Point]
    scores: dict[str, FIDSpread | HalvesSpread]

    @property
    def fids(self) -> FIDSpread:
        return self.scores[FID]

    @property
    def num_steps(self) -> int:
        return most_common_steps(self.points)

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
        return float(self.scores[LEVELS].values[index]) if LEVELS in self.scores else None


def most_common_steps(points: Sequence[Point]) -> int:
    """The number of solver steps of most points; the others are a model alone with more or fewer."""
    return Counter(point.num_steps for point in points).most_common(1)[0][0]


def methods_of(point: Point, num_steps: int) -> list[str]:
    """Name the methods that led to a point: an order, a router with its settings, or a model alone with other steps."""
    every = [series for _, series in point.curves]
    names = [own.order.replace("_", " ") if own.router == ALLOCATION else own.router for own in every]
    if point.is_large_alone or point.is_alone(0):
        names = [FIRST if point.num_steps == num_steps else f"the {'large' if point.is_large_alone else 'small'} model"]
    return list(dict.fromkeys(name if point.num_steps == num_steps else f"{name}, other steps" for name in names))


def judge(mixed: Mixed, index: int, metric: str = FID) -> str:
    """Hold a point against the first steps for the small model at the same time.

    By FID it is worse where its FID is above that of the best such point that takes as long or less, and better where
    it is below that of the cheapest one that takes as long or longer; each by more than the 95% interval. Between two
    of them a line is not drawn. Other metrics likewise.
    """
    scores, seconds = mixed.scores[metric], [point.seconds_per_image for point in mixed.points]
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    first = mixed.of(FIRST)
    if index in first:
        return OPEN
    cheaper = [k for k in first if seconds[k] <= seconds[index] * SAME_TIME]
    if cheaper:
        against_best = scores.difference(min(cheaper, key=lambda k: sign * scores.values[k]), index)
        if tell_apart(against_best, metric) == WORSE:
            return WORSE
    dearer = [k for k in first if seconds[k] * SAME_TIME >= seconds[index]]
    if dearer:
        against_dearer = scores.difference(min(dearer, key=seconds.__getitem__), index)
        if tell_apart(against_dearer, metric) == BETTER:
            return BETTER
    return OPEN


def tell_apart(difference: Spread, metric: str) -> str:
    """Whether the second of two points is better by a metric, worse, or not to be told from the first."""
    low, high = difference.interval
    if low <= 0 <= high:
        return OPEN
    return BETTER if (low > 0) == (metric in HIGHER_IS_BETTER) else WORSE


def verdicts_table(mixed: Sequence[Mixed]) -> Table:
    """Count the verdicts of each method in each sweep."""
    methods = _other_methods(mixed)
    rows = [[method, *(_count([judge(own, k) for k in own.of(method)]) for own in mixed)] for method in methods]
    notes = [
        "Points that are better / not decided / worse than the first steps for the small model, at the same time "
        "(within 2%), by the 95% interval of the paired difference in FID. A point between two of theirs in time is "
        "better if it beats the slower one, and worse if the faster one beats it."
    ]
    return Table("Which wins where", ["method", *(own.name for own in mixed)], rows, notes)


def metrics_table(mixed: Sequence[Mixed]) -> Table:
    """Count the verdicts of each method by each metric, over all sweeps."""
    methods = _other_methods(mixed)
    metrics = _metrics(mixed)
    rows = []
    for method in methods:
        verdicts = {
            metric: [judge(own, k, metric) for own in mixed if metric in own.scores for k in own.of(method)]
            for metric in metrics
        }
        rows.append([method, *map(_count, verdicts.values())])
    notes = [
        "As above, of all sweeps together: better / not decided / worse. Better is nearer to the large model's images "
        "with the same noise, more diverse within a class (the distance between features), and higher in the Inception "
        "Score, precision and recall; their intervals are from random halves of the images, which all points share."
    ]
    return Table("By each metric", ["method", *metrics], rows, notes)


def _metrics(mixed: Sequence[Mixed]) -> list[str]:
    return list(dict.fromkeys(metric for own in mixed for metric in own.scores))


def _other_methods(mixed: Sequence[Mixed]) -> list[str]:
    return list(dict.fromkeys(name for own in mixed for name in own.methods if name != FIRST))


def _count(verdicts: Sequence[str]) -> str | None:
    return "/".join(str(verdicts.count(verdict)) for verdict in (BETTER, OPEN, WORSE)) if verdicts else None


def budgets_table(mixed: Sequence[Mixed]) -> Table:
    """Name the best point within the time of each point of the first steps for the small model."""
    columns = ["sweep", "ms", "FID of the first steps", "best within it", "FID", "difference", "low95", "high95"]
    columns += ["as good as it", "nearest to the large model's images", "levels", "levels of the first steps"]
    rows = []
    for own in mixed:
        values, seconds = own.fids.values, [point.seconds_per_image for point in own.points]
        for budget in own.of(FIRST)[::EVERY]:
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


def fixed_table(mixed: Sequence[Mixed]) -> Table:
    """Hold the methods whose images decide against the best schedule that is known before the run, in the same time."""
    metrics = [metric for metric in (FID, LEVELS) if metric in _metrics(mixed)]
    told = [
        (method, metric, _against_fixed(own, k, metric))
        for own in mixed for k, point in enumerate(own.points) if point.decisions
        for metric in metrics if metric in own.scores for method in methods_of(point, own.num_steps)
    ]  # fmt: skip
    rows = _rows(told, metrics)
    notes = [
        "Better / not decided / worse than the best of all schedules that are known before the run and take no longer "
        "(any order, TRACK, a model alone with other numbers of steps), of all sweeps together. The best of many is "
        "favoured by chance."
    ]
    return Table("Where images decide: against the best fixed schedule", ["method", *metrics], rows, notes)


def _rows(told: Sequence[tuple[str, str, str]], metrics: Sequence[str]) -> list[list[str | None]]:
    """Count verdicts, of a method by a metric each, in a row for each method."""
    verdicts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for method, metric, verdict in told:
        verdicts[method, metric].append(verdict)
    methods = sorted({method for method, _, _ in told})
    return [[method, *(_count(verdicts[method, metric]) for metric in metrics)] for method in methods]


def _against_fixed(mixed: Mixed, index: int, metric: str) -> str:
    scores, most = mixed.scores[metric], SAME_TIME * mixed.points[index].seconds_per_image
    fixed = [k for k, point in enumerate(mixed.points) if point.allocation and point.seconds_per_image <= most]
    if not fixed:
        return OPEN
    return tell_apart(scores.difference(min(fixed, key=scores.values.__getitem__), index), metric)


def same_share_table(mixed: Sequence[Mixed]) -> Table:
    """Compare each method with the first steps for the small model, where both give it the same share of the steps."""
    metrics = _metrics(mixed)
    told = [
        (method, metric, tell_apart(scores.difference(rival, k), metric))
        for own in mixed for k, rival in same_share(own).items() for metric, scores in own.scores.items()
        for method in set(methods_of(own.points[k], own.num_steps)) - {FIRST}
    ]  # fmt: skip
    rows = _rows(told, metrics)
    notes = [
        "Better / not decided / worse than the first steps for the small model at the same share of the steps, "
        "whatever the time, of all sweeps together."
    ]
    return Table("At the same share of the small model", ["method", *metrics], rows, notes)


def same_share(mixed: Mixed) -> dict[int, int]:
    """Pair each point whose knob is the share with that of the first steps for the small model at the same share."""
    first = {round(mixed.points[k].small_fraction, 3): k for k in mixed.of(FIRST)}
    rivals = {}
    for k, point in enumerate(mixed.points):
        rival = first.get(round(point.small_fraction, 3))
        is_alone = point.is_large_alone or point.is_alone(0)
        if rival is not None and not is_alone and point.num_steps == mixed.num_steps and point.knob is None:
            rivals[k] = rival
    return rivals


def points_table(mixed: Sequence[Mixed]) -> Table:
    """List every point, for the CSV file."""
    metrics = _metrics(mixed)
    columns = ["sweep", "method", "small share", "steps", "knob", "guidance scale", "ms", *EVALUATIONS]
    for metric in metrics:
        columns += [metric, f"{metric} std", f"{metric} verdict", f"{metric} at the same share"]
        columns.append(f"std of {metric} there")
    rows = []
    for own in mixed:
        rivals = same_share(own)
        for k, point in enumerate(own.points):
            scored: list[str | float | None] = []
            for metric in metrics:
                scored += _scored(own, k, metric, rivals) if metric in own.scores else [None] * 5
            for method in methods_of(point, own.num_steps):
                row = [own.name, method, point.small_fraction, float(point.num_steps), point.knob]
                row += [str(point.guidance_scale), round(1000 * point.seconds_per_image, 2)]
                row += [float(f"{point.evaluations.get(name, 0):.4g}") for name in own.denoisers]
                rows.append([*row, *scored])
    return Table("All points", columns, rows, [])


def _scored(mixed: Mixed, index: int, metric: str, rivals: dict[int, int]) -> list[str | float | None]:
    scores = mixed.scores[metric]
    alone, verdict = scores.spread(index), None if index in mixed.of(FIRST) else judge(mixed, index, metric)
    difference = scores.difference(rivals[index], index) if index in rivals else None
    numbers = [alone.value, alone.std, difference and difference.value, difference and difference.std]
    value, std, *against = [None if number is None else float(f"{number:.5g}") for number in numbers]
    return [value, std, verdict, *against]


def _title(mixed: Mixed, index: int) -> str:
    point = mixed.points[index]
    method = methods_of(point, mixed.num_steps)[0]
    what = point.knob or (f"{point.num_steps} steps" if point.num_steps != mixed.num_steps else None)
    return f"{method}, {what or show_fractions(point.fractions)}"
