"""How far a metric may be off by chance, and whether one run is worse than another that shares its noise.

All of it comes from a bootstrap over images: draw N images with replacement, score, repeat. Two runs of the
same noise are drawn with the same indices, so what they have in common cancels in their difference.

FID is nearly quadratic in the noise of its statistics. A resample of a sample adds its own noise to the
sample's, so draws scatter more than fresh samples would: for T = |m + z|^2 with noise z of covariance S,
Var T = 2 tr S^2 + 4 m'Sm, but the draws |m + z + z*|^2 have 6 tr S^2 + 4 m'Sm on average. The excess is twice
the variance of |z*|^2, which is the FID of a resample from the very set that it was drawn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from threadpoolctl import threadpool_limits
from torch import Tensor

from evaluation.metrics import frechet_distance, inception_score_of_probabilities, symmetric_root
from evaluation.statistics import Statistics, statistics

Z95 = 1.959964
NARROW = 256


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


@dataclass(frozen=True)
class Bootstrap:
    """FID of K sets and of their resamplings.

    `values` (K,); `draws` (num_draws, K) against the reference; `own` (num_draws, K) against the set itself.
    """

    values: np.ndarray
    draws: np.ndarray
    own: np.ndarray

    def spread(self, index: int) -> Spread:
        """The FID of one set."""
        return Spread(float(self.values[index]), _corrected_std(self.draws[:, index], self.own[:, index]))

    def difference(self, first: int, second: int) -> Spread:
        """How much larger the second set's FID is than the first's."""
        draws, own = (table[:, second] - table[:, first] for table in (self.draws, self.own))
        return Spread(float(self.values[second] - self.values[first]), _corrected_std(draws, own))


def _corrected_std(draws: np.ndarray, own: np.ndarray) -> float:
    excess = own.var(ddof=1)
    return float(np.sqrt(max(draws.var(ddof=1) - 2 * excess, excess)))


def bootstrap_fid(sets: Sequence[np.ndarray], reference: Statistics, num_draws: int, seed: int = 0) -> Bootstrap:
    """Resample sets `num_draws` times, all with the same indices.

    Args:
        sets: features (N, D) of each set; image i of one has the noise of image i of the others.
    """
    rng, num = np.random.default_rng(seed), len(sets[0])
    found = [statistics(features) for features in sets]
    targets = [(torch.from_numpy(s.mu), torch.from_numpy(symmetric_root(s.sigma))) for s in (reference, *found)]
    draws, own = np.empty((num_draws, len(sets))), np.empty((num_draws, len(sets)))
    # NumPy and PyTorch have a pool of threads each; on small matrices they only wait for one another.
    with threadpool_limits(1 if len(reference.mu) <= NARROW else None):
        for draw in range(num_draws):
            counts = np.bincount(rng.integers(num, size=num), minlength=num)
            for k, features in enumerate(sets):
                resampled = statistics(features, counts)
                draws[draw, k] = _quick_fid(resampled, *targets[0])
                own[draw, k] = _quick_fid(resampled, *targets[k + 1])
    return Bootstrap(np.array([frechet_distance(s, reference) for s in found]), draws, own)


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


def _quick_fid(found: Statistics, mu: Tensor, root: Tensor) -> float:
    """FID from a set whose covariance has the root `root`, by one symmetric eigenvalue problem."""
    sigma, difference = torch.from_numpy(found.sigma), torch.from_numpy(found.mu) - mu
    trace_of_root = torch.linalg.eigvalsh(root @ sigma @ root).clamp(min=0).sqrt().sum()
    return float(difference @ difference + sigma.trace() + root.square().sum() - 2 * trace_of_root)


def describe_difference(names: tuple[str, str], first_fid: float, difference: Spread, margin: float = 0.10) -> str:
    """What a difference says, in a sentence.

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
        verdict = f"is worse, by more or less than {margin:.0%}"
    else:
        verdict = "cannot be told apart with so few images"
    text = f"{names[1]} against {names[0]}: FID {difference.value:+.3f}, 95% interval {low:+.3f} to {high:+.3f}"
    return f"{text}: {verdict}"
