"""Mean and covariance of features as streaming float64 sums."""

from dataclasses import dataclass

import numpy as np

from tstitch.errors import UserError

CHUNK = 4096


@dataclass(frozen=True)
class Statistics:
    """`mu` (D,) and `sigma` (D, D), float64, of `num` feature vectors; `num` is None where a file does not say."""

    mu: np.ndarray
    sigma: np.ndarray
    num: int | None


class StatisticsAccumulator:
    """Sums of features x and of outer products x x^T, in float64, around a shift that keeps digits.

    The first batch's mean is the shift: without it, a covariance that is small beside the squared
    mean would lose digits to cancellation.
    """

    def __init__(self) -> None:
        self.num, self.shift, self.total, self.outer = 0, None, None, None

    def update(self, features: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add features (N, D) of any float dtype, each `counts` (N,) times, by default once."""
        features = features.astype(np.float64)
        counts = np.ones(len(features), dtype=np.int64) if counts is None else counts
        if self.shift is None:
            self.shift = features.mean(axis=0)
            self.total, self.outer = np.zeros_like(self.shift), np.zeros((len(self.shift), len(self.shift)))
        centred = features - self.shift
        self.num += int(counts.sum())
        self.total += counts @ centred
        self.outer += (counts[:, None] * centred).T @ centred

    def finish(self) -> Statistics:
        """Mean and unbiased covariance (as `numpy.cov`); needs at least two feature vectors."""
        if self.num < 2:
            raise UserError(f"statistics need at least 2 images, got {self.num}")
        mean = self.total / self.num
        sigma = (self.outer - self.num * np.outer(mean, mean)) / (self.num - 1)
        return Statistics(self.shift + mean, sigma, self.num)


def statistics(features: np.ndarray, counts: np.ndarray | None = None) -> Statistics:
    """Statistics of features (N, D), each of which counts `counts` (N,) times; the float64 copies stay small."""
    accumulator = StatisticsAccumulator()
    for start in range(0, len(features), CHUNK):
        rows = slice(start, start + CHUNK)
        accumulator.update(features[rows], None if counts is None else counts[rows])
    return accumulator.finish()
