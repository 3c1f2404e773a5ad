"""Improved precision and recall (Kynkäänniemi et al. 2019) with the neighbours of ADM's evaluator, in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tstitch.errors import UserError

NEAREST = 3
BLOCK, COLUMNS = 1024, 4096
CLOSE = 1e-2  # of |a|^2 + |b|^2: below, a squared distance has lost two digits to cancellation
PAIRS = 4096  # close pairs that are subtracted at once


def precision_recall(samples: np.ndarray, reference: np.ndarray, nearest: int = NEAREST) -> tuple[float, float]:
    """Compute the share of samples inside the reference's manifold, and of the reference inside the samples'.

    A set's manifold is the union of balls around its feature vectors; each reaches to the vector's
    `nearest`-th neighbour in the set (3 in ADM's evaluator). Distances are in float32. ADM's evaluator takes
    them in half precision, so an image at the very border can fall on the other side there: allow for 2
    images in N. Memory grows with N, not with N squared.

    Args:
        samples, reference: features (N, D) and (M, D), any float dtype.

    Raises:
        UserError: a set has no more than `nearest` vectors.
    """
    check_enough_neighbours(samples, reference, nearest)
    first, second = _around_mean(reference, samples, reference)
    return (
        _share_inside(first, second, _squared_radii(second, nearest)),
        _share_inside(second, first, _squared_radii(first, nearest)),
    )


@dataclass(frozen=True)
class Neighbourhood:
    """Precision and recall of any part of a set; all N (N + M) distances are in memory.

    Attributes:
        is_inside: whether each image lies in the reference's manifold (N,).
        within: squared distances among the images (N, N), infinite to themselves.
        across: squared distances from the images to the reference's (N, M).
    """

    is_inside: np.ndarray
    within: Tensor
    across: Tensor
    nearest: int

    def precision(self, rows: np.ndarray) -> float:
        """The share of the images of these rows inside the reference's manifold."""
        return float(self.is_inside[rows].mean())

    def recall(self, rows: np.ndarray) -> float:
        """The share of the reference inside the manifold of the images of these rows."""
        own = self.within[rows][:, rows]
        squared_radii = own.kthvalue(self.nearest, dim=1).values
        return float((self.across[rows] <= squared_radii[:, None]).any(dim=0).float().mean())


class ReferenceManifold:
    """A reference's features (M, D) with the radius of each, for the precision and recall of many sets."""

    def __init__(self, features: np.ndarray, nearest: int = NEAREST):
        self.features, self.nearest = features, nearest
        [centred] = _around_mean(features, features)
        self.squared_radii = _squared_radii(centred, nearest)

    def of(self, samples: np.ndarray) -> Neighbourhood:
        """Measure the distances of samples (N, D).

        Raises:
            UserError: a set has no more than `nearest` vectors.
        """
        check_enough_neighbours(samples, self.features, self.nearest)
        first, second = _around_mean(self.features, samples, self.features)
        within, across = _all_distances(first, first), _all_distances(first, second)
        within.fill_diagonal_(torch.inf)
        return Neighbourhood((across <= self.squared_radii).any(dim=1).numpy(), within, across, self.nearest)


def check_enough_neighbours(samples: np.ndarray, reference: np.ndarray, nearest: int = NEAREST) -> None:
    """Refuse sets without `nearest` neighbours."""
    fewest = min(len(samples), len(reference))
    if fewest <= nearest:
        raise UserError(f"precision and recall need more than {nearest} images in each set, got {fewest}")


def _around_mean(reference: np.ndarray, *sets: np.ndarray) -> list[Tensor]:
    # Distances do not change with the origin; at the mean, vectors are shortest and products lose the fewest digits.
    origin = reference.mean(axis=0, dtype=np.float64)
    return [torch.from_numpy((features - origin).astype(np.float32)) for features in sets]


def _all_distances(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([torch.cat([tile for _, tile in tiles], dim=1) for _, tiles in _distances(first, second)])


def _squared_radii(features: Tensor, nearest: int) -> Tensor:
    """Squared distances (N,) of vectors to their `nearest`-th neighbour; a vector is no neighbour of itself."""
    radii = []
    for start, tiles in _distances(features, features):
        rows = torch.arange(start, min(start + BLOCK, len(features)))
        smallest = torch.full((len(rows), nearest), torch.inf)
        for columns, tile in tiles:
            own = (rows >= columns.start) & (rows < columns.stop)
            tile[own, rows[own] - columns.start] = torch.inf
            smallest = torch.cat([smallest, tile], dim=1).topk(nearest, largest=False).values
        radii.append(smallest.amax(dim=1))
    return torch.cat(radii)


def _share_inside(points: Tensor, centres: Tensor, squared_radii: Tensor) -> float:
    num_inside = 0
    for _, tiles in _distances(points, centres):
        inside = torch.stack([(tile <= squared_radii[columns]).any(dim=1) for columns, tile in tiles])
        num_inside += int(inside.any(dim=0).sum())
    return num_inside / len(points)


def _distances(first: Tensor, second: Tensor) -> Iterator[tuple[int, Iterator[tuple[slice, Tensor]]]]:
    """Squared distances: for each block of `first` its first row and its tiles (rows, columns of `second`)."""
    norms = second.square().sum(dim=1)

    def tiles(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(second), COLUMNS):
            columns = slice(start, start + COLUMNS)
            yield columns, _tile(rows, second[columns], norms[columns])

    return ((start, tiles(first[start : start + BLOCK])) for start in range(0, len(first), BLOCK))


def _tile(rows: Tensor, columns: Tensor, column_norms: Tensor) -> Tensor:
    """`|a|^2 + |b|^2 - 2 ab`, with pairs that are close together subtracted: equal vectors have distance 0."""
    norms = rows.square().sum(dim=1)[:, None] + column_norms
    tile = torch.addmm(norms, rows, columns.T, alpha=-2)
    close = (tile < CLOSE * norms).nonzero()
    for pairs in close.split(PAIRS):
        i, j = pairs.T
        tile[i, j] = (rows[i] - columns[j]).square().sum(dim=1)
    return tile.clamp_(min=0)
