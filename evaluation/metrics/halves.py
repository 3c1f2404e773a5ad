"""Intervals of any metric of a set of images, from random halves of it.

The deviation of a metric over halves of a set, drawn without replacement, is that of the whole set: half as many images
scatter by twice the variance, and what the half shares with the set takes one of the two away (the delete-d jackknife
with d = N / 2, Shao and Wu 1989). No image is drawn twice, which a bootstrap would do, and which nearest neighbours
cannot bear.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.spread import Spread

NUM_HALVES = 40
SEED = 0


@dataclass(frozen=True)
class HalvesSpread:
    """A metric of K sets of N images each; image i of all has the same noise.

    Attributes:
        values: of the sets (K,).
        halves: of the same `NUM_HALVES` halves of each set (K, NUM_HALVES).
    """

    values: np.ndarray
    halves: np.ndarray

    def spread(self, index: int) -> Spread:
        """The metric of one set."""
        return Spread(float(self.values[index]), float(self.halves[index].std(ddof=1)))

    def difference(self, first: int, second: int) -> Spread:
        """Return the second set's metric less the first's."""
        std = (self.halves[second] - self.halves[first]).std(ddof=1)
        return Spread(float(self.values[second] - self.values[first]), float(std))


def score_halves(metric: Callable[[np.ndarray], float], num: int) -> np.ndarray:
    """Compute a metric of a set of `num` images and of its halves: (1 + NUM_HALVES,).

    Args:
        metric: of the images whose rows (M,) it is given.
    """
    rng = np.random.default_rng(SEED)
    halves = [np.sort(rng.permutation(num)[: num // 2]) for _ in range(NUM_HALVES)]
    return np.array([metric(np.arange(num)), *(metric(half) for half in halves)])


def halves_spread(scores: list[np.ndarray]) -> HalvesSpread:
    """Put the scores of several sets together."""
    values = np.stack(scores)
    return HalvesSpread(values[:, 0], values[:, 1:])
