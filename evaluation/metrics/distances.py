"""Fréchet distance and Inception Score, in float64."""

from collections.abc import Iterator

import numpy as np
from scipy import linalg
from scipy.special import rel_entr, softmax

from evaluation.metrics.statistics import Statistics
from tstitch.errors import UserError


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """`|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` (Heusel et al. 2017, equation 6).

    The trace of the root is the sum of the singular values of `S1^(1/2) S2^(1/2)`. Symmetric roots
    exist for singular covariances too, so fewer images than features need no special case.
    """
    if first.mu.shape != second.mu.shape:
        raise UserError(f"the two sets have features of different widths: {len(first.mu)} and {len(second.mu)}")
    difference = first.mu - second.mu
    product = symmetric_root(first.sigma) @ symmetric_root(second.sigma)
    trace_of_root = linalg.svdvals(product).sum()
    return float(difference @ difference + np.trace(first.sigma) + np.trace(second.sigma) - 2 * trace_of_root)


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semidefinite matrix (D, D)."""
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def inception_score(logits: np.ndarray, split_size: int = 5000) -> float:
    """`exp(E KL(p(y|x) || p(y)))`, the mean over splits of `split_size` images in order, as the ADM evaluator.

    Args:
        logits: (N, classes), before the softmax.
    """
    splits = _splits(logits, split_size)
    return float(np.mean([_split_score(softmax(split.astype(np.float64), axis=1)) for split in splits]))


def inception_score_of_probabilities(probabilities: np.ndarray, split_size: int = 5000) -> float:
    """The same from class probabilities (N, classes)."""
    return float(np.mean([_split_score(split.astype(np.float64)) for split in _splits(probabilities, split_size)]))


def _splits(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _split_score(p: np.ndarray) -> float:
    # rel_entr is p log(p / q), and 0 where p is 0.
    return float(np.exp(rel_entr(p, p.mean(axis=0, keepdims=True)).sum(axis=1).mean()))
