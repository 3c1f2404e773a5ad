"""References that are refused, and how far a published one may be from exact."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import load_reference, with_statistics
from evaluation.metrics.statistics import statistics
from tstitch.errors import UserError

WIDTH = 12
RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(200, WIDTH)) @ RNG.normal(size=(WIDTH, WIDTH)) + 5).astype(np.float32)
MADE = statistics(FEATURES)
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


def write(tmp_path: Path, **changed: object) -> Path:
    arrays = {"mu": MADE.mu, "sigma": MADE.sigma, "mu_s": MADE.mu, "sigma_s": MADE.sigma, **changed}
    path = tmp_path / "reference.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def changed_at(row: int, column: int, by: float) -> np.ndarray:
    sigma = MADE.sigma.copy()
    sigma[row, column] += by * np.abs(sigma).max()
    return sigma


def with_lowest(share: float) -> np.ndarray:
    """The covariance with its lowest eigenvalue replaced by a share of the largest."""
    values, vectors = np.linalg.eigh(MADE.sigma)
    values[0] = share * values[-1]
    sigma = (vectors * values) @ vectors.T
    return (sigma + sigma.T) / 2


@pytest.mark.parametrize("which", ["sigma", "sigma_s"])
@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (-MADE.sigma, "is no covariance: it has an eigenvalue of -"),
        (with_lowest(-1e-3), "is no covariance: it has an eigenvalue of -"),
        (with_lowest(-3e-5), "is no covariance: it has an eigenvalue of -"),
        (-np.eye(WIDTH), "is no covariance"),
        (changed_at(1, 2, 0.1), "is not symmetric: elements differ by"),
        (changed_at(1, 2, 3e-5), "is not symmetric: elements differ by"),
        (MADE.sigma.astype(complex), "is complex128; want float32 or float64"),
        (MADE.sigma + 1j, "is complex128; want float32 or float64"),
        (MADE.sigma.astype(int), "is int64; want float32 or float64"),
        (MADE.sigma.astype(np.float16), "is float16; want float32 or float64"),
        (MADE.sigma > 0, "is bool; want float32 or float64"),
        (MADE.sigma.astype(object), r"holds Python objects \(a pickle\)"),
        (MADE.sigma.astype(str), "want float32 or float64"),
        (MADE.sigma[:5], r"want \(D,\) and \(D, D\)"),
        (np.float64(3), r"want \(D,\) and \(D, D\)"),
        (np.where(np.eye(WIDTH) > 0, np.inf, MADE.sigma), "holds NaN or Inf"),
        (None, "alone"),
    ],
)
def test_what_is_no_covariance_is_refused(tmp_path: Path, which: str, sigma: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_reference(write(tmp_path, **{which: sigma}))
    assert "\n" not in str(caught.value)
    assert "reference.npz" in str(caught.value)


@pytest.mark.parametrize(
    "sigma",
    [
        MADE.sigma,
        MADE.sigma.astype(np.float32),
        changed_at(1, 2, 3e-6),
        with_lowest(-3e-6),
        with_lowest(0),
        np.cov(FEATURES[:5], rowvar=False, dtype=np.float32),  # singular: eigenvalues around 0 by rounding
        np.zeros((WIDTH, WIDTH)),
    ],
)
def test_rounding_is_accepted(tmp_path: Path, sigma: np.ndarray) -> None:
    read = load_reference(write(tmp_path, sigma=sigma, mu=MADE.mu.astype(np.float32)))
    assert np.array_equal(read.pool.sigma, sigma.astype(np.float64))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": MADE.mu.astype(np.float16)}, "mu is float16; want float32 or float64"),
        ({"mu": np.arange(WIDTH)}, "mu is int64; want float32 or float64"),
        ({"mu": MADE.mu * 1j}, "mu is complex128"),
        ({"mu": np.float64(1)}, r"want \(D,\) and \(D, D\)"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"want \(D,\) and \(D, D\)"),
        ({"features": FEATURES[:, :5]}, r"features \(200, 5\); want \(N, 12\)"),
        ({"features": FEATURES[0]}, r"features \(12,\); want \(N, 12\)"),
        ({"features": FEATURES.astype(int)}, "features is int64; want float32 or float64"),
        ({"features": FEATURES * np.float32(np.nan)}, "features holds NaN or Inf"),
        ({"features": FEATURES, "num": 100}, "num is 100, and there are features of 200 images"),
        ({"num": "many"}, "num is 'many'; want one whole number of 2 or more"),
        ({"num": np.nan}, "num is nan; want one whole number"),
        ({"num": 3.5}, "num is 3.5; want one whole number"),
        ({"num": -3}, "num is -3; want one whole number"),
        ({"num": np.arange(3)}, r"num is int64 of shape \(3,\); want one whole number"),
        ({"side": 32}, "side is 32; want the images' height and width"),
        ({"side": (32, 32, 3)}, r"side is int64 of shape \(3,\); want"),
        ({"side": (32, -1)}, r"side is int64 of shape \(2,\); want"),
        ({"extractor": 3}, "extractor is 3; want one text"),
    ],
)
def test_other_arrays_are_checked_too(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_reference(write(tmp_path, **changed))


@pytest.mark.parametrize("where", [0.3, 0.7])
def test_a_damaged_file_is_refused(tmp_path: Path, where: float) -> None:
    path = write(tmp_path, features=FEATURES)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"reference .*reference\.npz"):
        load_reference(path)


def test_pickles_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    assert load_reference(write(tmp_path, classes=np.array([{}], dtype=object))).pool is not None


def test_images_alone_are_completed_by_their_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "reference.npz", IMAGES)
    read = load_reference(tmp_path / "reference.npz")
    assert (read.pool, read.num, read.side, read.has_images) == (None, None, (8, 8), True)
    whole = with_statistics(read, FeatureSet(FEATURES, None, MADE))
    assert np.array_equal(whole.pool.sigma, MADE.sigma)
    assert whole.spatial is MADE
    assert whole.num == 200
    np.savez(tmp_path / "reference.npz", IMAGES[0])
    with pytest.raises(UserError, match=r"images must be \(N, H, W, 3\)"):
        load_reference(tmp_path / "reference.npz")
