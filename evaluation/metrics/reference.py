"""References that images are compared with: ADM's batches, images alone, or references made here, in one `.npz`."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import linalg

from evaluation.metrics.archive import array_names, read_array, stored_array
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.statistics import Statistics, statistics
from tstitch.errors import UserError, explain_no_file
from tstitch.runs.atomic import write_atomically
from tstitch.runs.digest import file_sha256
from tstitch.runs.shards import IMAGES

# How far a covariance may be from symmetric and from positive semidefinite, as a share of its largest element and
# eigenvalue: sums in float32 over 50,000 images leave about 1e-6.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Reference:
    """Statistics of real images, and their features where the file has them.

    `side` is the images' (H, W). `extractor` is the one that a reference made here was made with. Either is
    None where the file does not say. `pool` is None only where the file has images and no statistics.
    """

    path: Path
    sha256: str
    pool: Statistics | None
    spatial: Statistics | None
    features: np.ndarray | None
    side: tuple[int, int] | None
    extractor: str | None
    has_images: bool

    @property
    def num(self) -> int | None:
        return None if self.pool is None else self.pool.num


def load_reference(path: Path) -> Reference:
    """Read `mu`, `sigma` and what else there is: `mu_s`, `sigma_s`, `features`, `num`, `side`, `extractor`, `arr_0`.

    A file with `arr_0` and neither `mu` nor `sigma` is a reference too: `with_statistics` completes it.

    Raises:
        UserError: the file is missing or damaged, lacks an array, or holds one that is no such statistic.
    """
    if not path.is_file():
        raise UserError(f"reference {path} {explain_no_file(path)}; give an .npz with mu and sigma, or arr_0")
    names = array_names(path)
    num = _read_num(path) if "num" in names else None
    side = _read_side(path) if "side" in names else None
    pool = _read_statistics(path, names, "mu", "sigma", num)
    if pool is None and IMAGES not in names:
        raise UserError(f"reference {path} has no arrays 'mu' and 'sigma'; it has {', '.join(names) or 'none'}")
    if pool is None:
        shape = stored_array(path, IMAGES).shape
        if len(shape) != 4:
            raise UserError(f"reference {path}: {IMAGES} has shape {shape}; images must be (N, H, W, 3)")
        side = shape[1:3]
    return Reference(
        path,
        file_sha256(path),
        pool,
        _read_statistics(path, names, "mu_s", "sigma_s", num),
        _read_features(path, pool) if pool is not None and "features" in names else None,
        side,
        _read_text(path, "extractor") if "extractor" in names else None,
        IMAGES in names,
    )


def with_statistics(reference: Reference, features: FeatureSet) -> Reference:
    """The reference with the statistics of its own images' features; those that the file has stay."""
    return replace(
        reference,
        pool=statistics(features.pool) if reference.pool is None else reference.pool,
        spatial=features.spatial if reference.spatial is None else reference.spatial,
    )


def make_reference(path: Path, features: FeatureSet, extractor: str, facts: dict, keep_features: bool) -> None:
    """Write a reference: statistics in float64 and, for precision, recall and KID, the features themselves.

    Args:
        facts: what else to keep, such as `side`, `source` and the extractor's checksum.
    """
    pool = statistics(features.pool)
    arrays = {"mu": pool.mu, "sigma": pool.sigma, "num": pool.num, "extractor": extractor, **facts}
    if features.spatial is not None:
        arrays |= {"mu_s": features.spatial.mu, "sigma_s": features.spatial.sigma}
    if keep_features:
        arrays["features"] = features.pool
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def _read_statistics(path: Path, names: list[str], mu_name: str, sigma_name: str, num: int | None) -> Statistics | None:
    present = [name for name in (mu_name, sigma_name) if name in names]
    if not present:
        return None
    if len(present) == 1:
        raise UserError(f"reference {path} has {present[0]!r} alone; no arrays {mu_name!r} and {sigma_name!r}")
    mu, sigma = (_read_floats(path, name) for name in (mu_name, sigma_name))
    if mu.ndim != 1 or len(mu) == 0 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"reference {path}: {mu_name} {mu.shape} and {sigma_name} {sigma.shape}; want (D,) and (D, D)")
    _check_covariance(f"reference {path}: {sigma_name}", sigma)
    return Statistics(mu, sigma, num)


def _check_covariance(name: str, sigma: np.ndarray) -> None:
    """Refuse a matrix that is not symmetric and positive semidefinite but for rounding."""
    with np.errstate(over="ignore"):
        asymmetry, largest = np.abs(sigma - sigma.T).max(), np.abs(sigma).max()
    if asymmetry > ROUNDING * largest:
        raise UserError(f"{name} is not symmetric: elements differ by {asymmetry:.3g}, the largest is {largest:.3g}")
    eigenvalues = linalg.eigvalsh(sigma)
    if eigenvalues[0] < -ROUNDING * max(eigenvalues[-1], 0):
        lowest, highest = eigenvalues[[0, -1]]
        raise UserError(f"{name} is no covariance: it has an eigenvalue of {lowest:.3g}, the largest is {highest:.3g}")


def _read_floats(path: Path, name: str) -> np.ndarray:
    """An array as float64; other kinds, and half precision, are not what statistics and features are kept in."""
    values = _read(path, name)
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        raise UserError(f"reference {path}: {name} is {values.dtype}; want float32 or float64")
    if not np.isfinite(values).all():
        raise UserError(f"reference {path}: {name} holds NaN or Inf")
    return values.astype(np.float64) if name != "features" else values


def _read_features(path: Path, pool: Statistics) -> np.ndarray:
    features, width = _read_floats(path, "features"), len(pool.mu)
    if features.ndim != 2 or features.shape[1] != width or len(features) < 2:
        raise UserError(
            f"reference {path}: features {features.shape}; want (N, {width}) as mu has {width}, N at least 2"
        )
    if pool.num is not None and pool.num != len(features):
        raise UserError(f"reference {path}: num is {pool.num}, and there are features of {len(features)} images")
    return features


def _read_num(path: Path) -> int:
    num = _read(path, "num")
    whole = num.size == 1 and num.dtype.kind in "iuf" and np.isfinite(num).all() and num.item() == int(num.item())
    if not whole or num.item() < 2:
        raise UserError(f"reference {path}: num is {_shown(num)}; want one whole number of 2 or more")
    return int(num.item())


def _read_side(path: Path) -> tuple[int, int]:
    side = _read(path, "side")
    if side.shape != (2,) or side.dtype.kind not in "iu" or (side < 1).any():
        raise UserError(
            f"reference {path}: side is {_shown(side)}; want the images' height and width, such as [256 256]"
        )
    return int(side[0]), int(side[1])


def _read_text(path: Path, name: str) -> str:
    text = _read(path, name)
    if text.size != 1 or text.dtype.kind != "U":
        raise UserError(f"reference {path}: {name} is {_shown(text)}; want one text")
    return str(text.item())


def _read(path: Path, name: str) -> np.ndarray:
    try:
        return read_array(path, name)
    except UserError as error:
        raise UserError(f"reference {error}") from error


def _shown(values: np.ndarray) -> str:
    return f"{values.item()!r}" if values.size == 1 else f"{values.dtype} of shape {values.shape}"
