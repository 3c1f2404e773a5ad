"""Mean and covariance of features as streaming float64 sums, and the reference files that hold them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch.errors import UserError


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

    def update(self, features: np.ndarray) -> None:
        """Add features (N, D) of any float dtype."""
        features = features.astype(np.float64)
        if self.shift is None:
            self.shift = features.mean(axis=0)
            self.total, self.outer = np.zeros_like(self.shift), np.zeros((len(self.shift), len(self.shift)))
        centred = features - self.shift
        self.num += len(features)
        self.total += centred.sum(axis=0)
        self.outer += centred.T @ centred

    def finish(self) -> Statistics:
        """Mean and unbiased covariance (as `numpy.cov`); needs at least two feature vectors."""
        if self.num < 2:
            raise UserError(f"statistics need at least 2 images, got {self.num}")
        mean = self.total / self.num
        sigma = (self.outer - self.num * np.outer(mean, mean)) / (self.num - 1)
        return Statistics(self.shift + mean, sigma, self.num)


def save_statistics(path: Path, statistics: Statistics, extractor: str) -> None:
    """Write `mu`, `sigma` as the ADM reference files name them, with `num` and the extractor's name."""
    np.savez(path, mu=statistics.mu, sigma=statistics.sigma, num=statistics.num, extractor=extractor)


def load_statistics(path: Path) -> Statistics:
    """Read `mu` and `sigma` from a reference `.npz` (ADM's or ours).

    Raises:
        UserError: the file is missing, cannot be read, lacks an array, or holds NaN.
    """
    if not path.is_file():
        raise UserError(f"reference {path} does not exist; give an .npz with the arrays mu and sigma")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("mu", "sigma") if name not in file.files]
            if missing:
                raise UserError(f"reference {path} has no array {missing[0]!r}; it has {', '.join(file.files)}")
            mu, sigma = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
            num = int(file["num"]) if "num" in file.files else None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"reference {path} is not a readable .npz file: {error}") from error
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"reference {path}: mu {mu.shape} and sigma {sigma.shape} do not fit; want (D,) and (D, D)")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"reference {path} holds NaN or Inf")
    return Statistics(mu, sigma, num)
