"""Intervals by chance, and whether one run is worse than another that shares its noise.

The interval of FID is in `evaluation/influence.py`. That of the Inception Score and of a mean come from a bootstrap
over images here: draw N images with replacement, score, repeat.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from evaluation.metrics.distances import inception_score_of_probabilities

Z95 = 1.959964


@dataclass(frozen=True)
class Spread:
    """A value with its standard deviation by chance, and the normal 95% interval around it."""

    value: float
    std: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.value - Z95 * self.std, self.value + Z95 * self.std

    def as_dict(self) -> dict:
        """For `result.json`."""
        return {"value": self.value, "std": self.std, "interval95": list(self.interval)}


def bootstrap_inception_score(logits: np.ndarray, split_size: int, num_draws: int, seed: int = 0) -> Spread:
    """The Inception Score of logits (N, classes), with its standard deviation over resamplings of the images."""
    rng, num = np.random.default_rng(seed), len(logits)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    draws = [
        inception_score_of_probabilities(probabilities[rng.integers(num, size=num)], split_size)
        for _ in range(num_draws)
    ]
    return Spread(inception_score_of_probabilities(probabilities, split_size), float(np.std(draws, ddof=1)))


def mean_spread(values: np.ndarray, num_draws: int, seed: int = 0) -> Spread:
    """The mean of values (N,) with its deviation over `num_draws` resamplings of the N."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(num_draws)]
    return Spread(float(values.mean()), float(np.std(means, ddof=1)))


def describe_difference(names: tuple[str, str], first_fid: float, difference: Spread, margin: float = 0.10) -> str:
    """Describe a difference in a sentence.

    Args:
        names: of the first and the second set.
        margin: how much worse, as a share of the first FID, still counts as no worse.
    """
    low, high = difference.interval
    allowed = margin * first_fid
    if high <= allowed:
        verdict = "is better" if high < 0 else f"is no worse than {margin:.0%}"
    elif low > allowed:
        verdict = f"is worse by more than {margin:.0%}"
    elif low > 0:
        verdict = f"is worse, whether by more than {margin:.0%} cannot be told"
    else:
        verdict = "cannot be told apart with so few images"
    text = f"{names[1]} against {names[0]}: FID {difference.value:+.3f}, 95% interval {low:+.3f} to {high:+.3f}"
    return f"{text}: {verdict}"
