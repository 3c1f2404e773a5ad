"""What is compared with: ADM's reference batches, or references made here, in one `.npz`."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.features import FeatureSet
from evaluation.statistics import Statistics, statistics
from tstitch.digest import file_sha256
from tstitch.errors import UserError
from tstitch.shards import IMAGES, write_atomically


@dataclass(frozen=True)
class Reference:
    """Statistics of real images, and their features where the file has them.

    `side` is the images' (H, W). `extractor` is what a reference made here was made with. Either is
    None where the file does not say.
    """

    path: Path
    sha256: str
    pool: Statistics
    spatial: Statistics | None
    features: np.ndarray | None
    side: tuple[int, int] | None
    extractor: str | None
    has_images: bool

    @property
    def num(self) -> int | None:
        return self.pool.num


def load_reference(path: Path) -> Reference:
    """Read `mu`, `sigma` and what else there is: `mu_s`, `sigma_s`, `features`, `num`, `side`, `extractor`, `arr_0`.

    Raises:
        UserError: the file is missing, cannot be read, lacks an array, or holds NaN.
    """
    if not path.is_file():
        raise UserError(f"reference {path} does not exist; give an .npz with the arrays mu and sigma")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name not in (IMAGES, "arr_1")}
            has_images = IMAGES in file.files
    except Exception as error:  # on garbage numpy raises nearly anything
        raise UserError(f"reference {path} is not a readable .npz file: {error}") from error
    num = int(arrays["num"]) if "num" in arrays else None
    pool = _statistics(path, arrays, "mu", "sigma", num)
    if pool is None:
        raise UserError(f"reference {path} has no arrays 'mu' and 'sigma'; it has {', '.join(arrays) or 'none'}")
    return Reference(
        path,
        file_sha256(path),
        pool,
        _statistics(path, arrays, "mu_s", "sigma_s", num),
        arrays.get("features"),
        tuple(map(int, arrays["side"])) if "side" in arrays else None,
        str(arrays["extractor"]) if "extractor" in arrays else None,
        has_images,
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


def _statistics(path: Path, arrays: dict, mu_name: str, sigma_name: str, num: int | None) -> Statistics | None:
    if mu_name not in arrays or sigma_name not in arrays:
        return None
    mu, sigma = arrays[mu_name].astype(np.float64), arrays[sigma_name].astype(np.float64)
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"reference {path}: {mu_name} {mu.shape} and {sigma_name} {sigma.shape}; want (D,) and (D, D)")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"reference {path} holds NaN or Inf")
    return Statistics(mu, sigma, num)
