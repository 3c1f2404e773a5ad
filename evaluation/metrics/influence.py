"""Intervals of FID from the influence of every image on it; no draws are needed.

FID is a smooth function F of the mean and the covariance of N feature vectors, so it has an expansion in its images:

    F = const + 1/N sum_i phi(i) + 1/(2 N^2) sum_ij k(i, j)

With c = x - mu (`centred`), S the covariance, R the root of the reference's S_r (`root`), R S R = E diag(s^2) E'
(`singular` is s), u = diag(1/s) E' R c (`whitened`, the covariance of u is the identity) and
Q_ab = s_a s_b / (s_a + s_b) (`weights`):

    influence   phi(i)  = 2 c_i'(mu - mu_r) + |c_i|^2 - sum_a s_a u_ia^2                       (its mean left out)
    interaction k(i, j) = 2 sum_a s_a u_ia u_ja + sum_ab Q_ab (u_ia u_ib - [a=b]) (u_ja u_jb - [a=b])

phi is taken at the set itself, which adds 1/N sum_j k(i, j) to it. The term j = i is too large by a half of
k(i, i) / N: that is subtracted for every image (a jackknife does the same). The others scatter: they add
E k^2 / N^2 to the variance of phi / N, of which F itself has one half. So

    Var F = Var(phi(i) - k(i, i) / 2N) / N - noise / 2,        noise = E k(i, j)^2 / N^2,

and never less than noise / 2, which is all there is at the reference, where phi vanishes (nor more than the first
term alone, which has all of the noise). The noise is estimated from
sums over j with random signs (`NUM_SIGNS` of them). Two sets of the same noise have the same image i and are given the
same signs, so what they have in common cancels in the difference of their influences.

With few images to a feature this estimate is too small, because the images that are summed have whitened themselves
(at N = D, u is a rotation). Normal features would have noise = 4 (sum S^2 + sum_ab (1 + [a=b]) Q_ab^2 / 2) / N^2
(`normal_noise`), which is too large there; simulation has the truth about half-way. Where the normal features' is the
larger one, the mean of both is taken for a single FID; the difference of two FIDs is covered without.

The eigenvalues that are zero where there are fewer images than features are left out: no image of the set has a part
in their directions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from evaluation.metrics.distances import frechet_distance, symmetric_root
from evaluation.metrics.spread import Spread
from evaluation.metrics.statistics import Statistics, statistics
from tstitch.errors import UserError

CHUNK = 2048
NUM_SIGNS = 2
SEED = 0
NEGLIGIBLE = 1e-10  # an eigenvalue, as a share of the largest


@dataclass(frozen=True)
class Influence:
    """The FID of a set of N images, and the influence of each on it.

    `values` (N,) sum to no more than rounding; `noise` (NUM_SIGNS, N) is what the set's own scatter adds to them,
    `normal_noise` the variance that it would have for normal features.
    """

    fid: float
    values: np.ndarray
    noise: np.ndarray
    normal_noise: float


@dataclass(frozen=True)
class FIDSpread:
    """FID of K sets and how far it may be off by chance.

    An interval is about the value that fresh sets of the same N images scatter around. FID is biased by N, so this is
    neither the value of more images nor that of infinitely many; metric names carry n.
    """

    sets: tuple[Influence, ...]

    @property
    def values(self) -> np.ndarray:
        """The FID of each set (K,)."""
        return np.array([influence.fid for influence in self.sets])

    def spread(self, index: int) -> Spread:
        """The FID of one set."""
        influence = self.sets[index]
        noise = _variance(influence.noise)
        noise = max(noise, (noise + influence.normal_noise) / 2)
        return Spread(influence.fid, _std(influence.values, noise))

    def difference(self, first: int, second: int) -> Spread:
        """Return the second set's FID less the first's; image i of both has the same noise."""
        a, b = self.sets[first], self.sets[second]
        return Spread(b.fid - a.fid, _std(b.values - a.values, _variance(b.noise - a.noise)))


def fid_spread(
    sets: Iterable[np.ndarray], reference: Statistics, show: Callable[[int], None] = lambda done: None
) -> FIDSpread:
    """Compute the FID of each set with the influence of its images.

    One set is in memory at a time where `sets` yields them one by one; N numbers of each are kept.

    Args:
        sets: features (N, D) of each set; image i of one has the noise of image i of the others.
        show: called with the number of sets that are done.

    Raises:
        UserError: sets of different sizes.
    """
    root = symmetric_root(reference.sigma)
    influences: list[Influence] = []
    for features in sets:
        if influences and len(features) != len(influences[0].values):
            raise UserError(f"sets of {len(influences[0].values)} and {len(features)} images cannot be compared")
        influences.append(_influence(features, reference, root))
        show(len(influences))
    return FIDSpread(tuple(influences))


def _influence(features: np.ndarray, reference: Statistics, root: np.ndarray) -> Influence:
    num, sample = len(features), statistics(features)
    fid = frechet_distance(sample, reference)
    eigenvalues, vectors = linalg.eigh(root @ sample.sigma @ root)
    kept = eigenvalues > NEGLIGIBLE * max(eigenvalues[-1], 0)
    singular = np.sqrt(eigenvalues[kept])
    whitening = root @ vectors[:, kept] / singular
    weights = (np.outer(singular, singular) / np.add.outer(singular, singular)).astype(np.float32)

    signs = _signs(num)
    shift, covariances = np.zeros((NUM_SIGNS, len(singular))), np.zeros((NUM_SIGNS, len(singular), len(singular)))
    for rows, centred in _chunks(features, sample.mu):
        whitened = (centred @ whitening).astype(np.float32)
        shift += signs[:, rows] @ whitened / num
        for covariance, sign in zip(covariances, signs[:, rows].astype(np.float32), strict=True):
            covariance += (sign[:, None] * whitened).T @ whitened
    covariances = covariances / num - signs.mean(axis=1)[:, None, None] * np.eye(len(singular))
    tilts = [weights * covariance.astype(np.float32) for covariance in covariances]

    values, noise = np.empty(num), np.empty((NUM_SIGNS, num))
    for rows, centred in _chunks(features, sample.mu):
        whitened = centred @ whitening
        squares, lengths = whitened**2, (centred**2).sum(axis=1)
        whitened, small = whitened.astype(np.float32), squares.astype(np.float32)
        own = squares @ singular + (small @ weights * small).sum(axis=1) + singular.sum() / 2
        values[rows] = 2 * centred @ (sample.mu - reference.mu) + lengths - squares @ singular - own / (2 * num)
        for k, tilt in enumerate(tilts):
            noise[k, rows] = 2 * whitened @ (singular * shift[k]) + (whitened @ tilt * whitened).sum(axis=1)
            noise[k, rows] -= signs[k, rows] * own / num
    normal_noise = 2 * (np.square(weights).sum() + 2.25 * np.square(singular).sum()) / num
    return Influence(fid, values - values.mean(), noise - noise.mean(axis=1, keepdims=True), float(normal_noise))


def _std(values: np.ndarray, noise: float) -> float:
    with_noise = values.var(ddof=1)
    return float(np.sqrt(max(with_noise - noise / 2, min(with_noise, noise / 2)) / len(values)))


def _variance(noise: np.ndarray) -> float:
    return float(noise.var(axis=1).mean())


def _signs(num: int) -> np.ndarray:
    """Random signs (NUM_SIGNS, num), as many of either kind as there can be."""
    rng = np.random.default_rng(SEED)
    return np.stack([rng.permutation(np.where(np.arange(num) % 2, 1.0, -1.0)) for _ in range(NUM_SIGNS)])


def _chunks(features: np.ndarray, mu: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(features), CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, features[rows].astype(np.float64) - mu
