"""How far a FID may be off by chance, and whether one run is worse than another that shares its noise.

Both come from a bootstrap over images: draw N images with replacement, score, repeat. Two runs of the
same noise are drawn with the same indices, so what they have in common cancels in their difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics import frechet_distance, symmetric_root
from evaluation.statistics import CHUNK, Statistics, statistics

Z95 = 1.959964


@dataclass(frozen=True)
class Spread:
    """A value with the standard deviation of its bootstrap draws, and the normal 95% interval around the value.

    A resampled set has fewer distinct images, which biases FID upward; so the interval is centred on
    the value itself and takes only its width from the draws.
    """

    value: float
    std: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.value - Z95 * self.std, self.value + Z95 * self.std

    def as_dict(self) -> dict:
        """For `result.json`."""
        return {"value": self.value, "std": self.std, "interval95": list(self.interval)}


def bootstrap_fid(
    sets: Sequence[np.ndarray], reference: Statistics, num_draws: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """FID of each set (K,), and of `num_draws` resamplings (num_draws, K) whose indices all sets share.

    Args:
        sets: features (N, D) of each set; image i of one has the noise of image i of the others.
    """
    rng, num = np.random.default_rng(seed), len(sets[0])
    values = np.array([frechet_distance(statistics(features), reference) for features in sets])
    mu, root = torch.from_numpy(reference.mu), torch.from_numpy(symmetric_root(reference.sigma))
    centres = [torch.from_numpy(features.mean(axis=0, dtype=np.float64)) for features in sets]
    draws = np.empty((num_draws, len(sets)))
    for draw in draws:
        counts = torch.from_numpy(np.bincount(rng.integers(num, size=num), minlength=num).astype(np.float64))
        for k, (features, centre) in enumerate(zip(sets, centres, strict=True)):
            draw[k] = _resampled_fid(torch.from_numpy(features), centre, counts, mu, root)
    return values, draws


def _resampled_fid(features: Tensor, centre: Tensor, counts: Tensor, mu: Tensor, root: Tensor) -> float:
    """FID of features (N, D) that count `counts` times each, by one symmetric eigenvalue problem."""
    num, total, outer = counts.sum(), torch.zeros_like(centre), torch.zeros_like(root)
    for rows, own in zip(features.split(CHUNK), counts.split(CHUNK), strict=True):
        centred = rows.double() - centre
        weighted = own[:, None] * centred
        total += weighted.sum(dim=0)
        outer += weighted.T @ centred
    mean = total / num
    sigma = (outer - num * torch.outer(mean, mean)) / (num - 1)
    trace_of_root = torch.linalg.eigvalsh(root @ sigma @ root).clamp(min=0).sqrt().sum()
    difference = centre + mean - mu
    return float(difference @ difference + sigma.trace() + root.square().sum() - 2 * trace_of_root)


def paired_verdict(
    names: tuple[str, str], values: np.ndarray, draws: np.ndarray, margin: float = 0.10
) -> tuple[Spread, str]:
    """The difference of the second set's FID from the first's, and what it says, in a sentence.

    Args:
        values: (2,), draws: (num_draws, 2), of two sets that share noise.
        margin: how much worse, as a share of the first FID, still counts as no worse.
    """
    difference = Spread(float(values[1] - values[0]), float((draws[:, 1] - draws[:, 0]).std(ddof=1)))
    low, high = difference.interval
    allowed = margin * float(values[0])
    if high <= allowed:
        verdict = "is better" if high < 0 else f"is no worse than {margin:.0%}"
    elif low > allowed:
        verdict = f"is worse by more than {margin:.0%}"
    elif low > 0:
        verdict = f"is worse, by more or less than {margin:.0%}"
    else:
        verdict = "cannot be told apart with so few images"
    text = f"{names[1]} against {names[0]}: FID {difference.value:+.3f}, 95% interval {low:+.3f} to {high:+.3f}"
    return difference, f"{text}: {verdict}"
