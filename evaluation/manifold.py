"""Improved precision and recall (Kynkäänniemi et al. 2019) as ADM's evaluator computes them, in blocks."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

NEAREST = 3
BLOCK, COLUMNS = 1024, 4096
LANES = 8


def precision_recall(samples: np.ndarray, reference: np.ndarray, nearest: int = NEAREST) -> tuple[float, float]:
    """The share of samples inside the reference's manifold, and of the reference inside the samples'.

    A set's manifold is the union of balls around its feature vectors; each reaches to the vector's
    `nearest`-th neighbour in the set (3 in ADM's evaluator). Distances are in half precision, as
    there, and in float32 where a half overflows, so that images at the very border fall on the same
    side. Memory grows with N, not with N squared.

    Args:
        samples, reference: features (N, D) and (M, D), any float dtype.
    """
    first, second = (torch.from_numpy(np.asarray(features, dtype=np.float32)) for features in (samples, reference))
    return (
        _share_inside(first, second, _squared_radii(second, nearest)),
        _share_inside(second, first, _squared_radii(first, nearest)),
    )


def _squared_radii(features: Tensor, nearest: int) -> Tensor:
    # A vector is its own neighbour at distance 0, so the k-th other one is the (k + 1)-th smallest distance.
    radii = []
    for rows in _distances(features, features):
        smallest = torch.full((BLOCK, nearest + 1), torch.inf)
        for _, tile in rows:
            smallest = torch.cat([smallest[: len(tile)], tile], dim=1).topk(nearest + 1, largest=False).values
        radii.append(smallest.amax(dim=1))
    return torch.cat(radii)


def _share_inside(points: Tensor, centres: Tensor, squared_radii: Tensor) -> float:
    num_inside = 0
    for rows in _distances(points, centres):
        inside = torch.stack([(tile <= squared_radii[columns]).any(dim=1) for columns, tile in rows])
        num_inside += int(inside.any(dim=0).sum())
    return num_inside / len(points)


def _distances(first: Tensor, second: Tensor) -> Iterator[Iterator[tuple[slice, Tensor]]]:
    """Squared distances, float32: for each block of rows of `first` its tiles (rows, columns of `second`)."""
    norms = _half_squared_norms(second)

    def tiles(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        rounded, row_norms = rows.half().float(), _half_squared_norms(rows)[:, None]
        for start in range(0, len(second), COLUMNS):
            columns = slice(start, start + COLUMNS)
            product = 2 * (rounded @ second[columns].half().float().T).half()
            tile = (row_norms - product + norms[columns]).float()
            if not tile.isfinite().all():
                squares = rows.square().sum(dim=1)[:, None] + second[columns].square().sum(dim=1)
                tile = squares - 2 * rows @ second[columns].T
            yield columns, tile.clamp_(min=0)

    return (tiles(rows) for rows in first.split(BLOCK))


def _half_squared_norms(features: Tensor) -> Tensor:
    """Squared norms (N,), every sum rounded to a half, in the order of TensorFlow on a CPU: two sets of 8 lanes."""
    norms = []
    for rows in features.split(BLOCK):
        squares = F.pad(rows.half().square(), (0, -rows.shape[1] % (2 * LANES))).unflatten(1, (-1, 2, LANES))
        sums = squares[:, 0]
        for step in range(1, squares.shape[1]):
            sums = sums + squares[:, step]
        norms.append((sums[:, 0] + sums[:, 1]).float().sum(dim=1).half())
    return torch.cat(norms)
