import numpy as np
import pytest
import torch
from scipy import linalg
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric

from evaluation.metrics.distances import frechet_distance, inception_score
from evaluation.metrics.evaluate import check_enough
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import load_reference, make_reference
from evaluation.metrics.statistics import Statistics, StatisticsAccumulator
from tstitch.errors import UserError


def features(seed: int, num: int = 200, width: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    return (rng.normal(size=(num, width)) @ mixing + 100 + seed).astype(np.float32)


def streamed(values: np.ndarray, batch_size: int = 64) -> Statistics:
    accumulator = StatisticsAccumulator()
    for start in range(0, len(values), batch_size):
        accumulator.update(values[start : start + batch_size])
    return accumulator.finish()


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_streamed_statistics_equal_those_of_numpy(batch_size: int) -> None:
    values = features(0)
    ours = streamed(values, batch_size)
    assert ours.num == 200
    assert np.allclose(ours.mu, values.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert np.allclose(ours.sigma, np.cov(values.astype(np.float64), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("num", [200, 10])
def test_frechet_distance_equals_torch_fidelity_and_the_formula(num: int) -> None:
    """With 10 images of 16 features, the covariances are singular."""
    first, second = features(1, num), features(2, num)
    ours = frechet_distance(streamed(first), streamed(second))
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(v).double()) for v in (first, second)), verbose=False
    )
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    if num > 16:
        a, b = streamed(first), streamed(second)
        root = linalg.sqrtm(a.sigma @ b.sigma).real
        assert ours == pytest.approx(np.sum((a.mu - b.mu) ** 2) + np.trace(a.sigma + b.sigma - 2 * root), rel=1e-6)


def test_frechet_distance_of_a_shift_is_its_square() -> None:
    values = features(3)
    moved = values + np.float32(2)
    assert frechet_distance(streamed(values), streamed(moved)) == pytest.approx(4 * 16, rel=1e-4)
    assert frechet_distance(streamed(values), streamed(values)) == pytest.approx(0, abs=1e-6)


def test_inception_score_equals_torch_fidelity_and_has_known_ends() -> None:
    logits = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32) * 3
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=3, shuffle=False)["inception_score_mean"]
    assert inception_score(logits, split_size=100) == pytest.approx(theirs, rel=1e-9)
    sure = np.tile(np.eye(10) * 1000, (5, 1))
    assert inception_score(sure) == pytest.approx(10)
    assert inception_score(np.zeros((5, 10))) == pytest.approx(1)


@pytest.mark.parametrize("keep_features", [True, False])
def test_reference_file_comes_back(tmp_path, keep_features: bool) -> None:
    values, path = features(0), tmp_path / "new" / "reference.npz"
    made = FeatureSet(values, None, streamed(features(1)))
    make_reference(path, made, "digits", {"side": (32, 32)}, keep_features)
    read = load_reference(path)
    assert (read.num, read.side, read.extractor, read.has_images) == (200, (32, 32), "digits", False)
    assert np.array_equal(read.pool.sigma, streamed(values, 1000).sigma)
    assert np.array_equal(read.spatial.mu, made.spatial.mu)
    assert (read.features is not None) == keep_features


def test_adm_reference_batch_is_read(tmp_path) -> None:
    made = streamed(features(0))
    images = np.zeros((3, 2, 2, 3), np.uint8)
    np.savez(tmp_path / "adm.npz", arr_0=images, mu=made.mu, sigma=made.sigma, mu_s=made.mu, sigma_s=made.sigma)
    read = load_reference(tmp_path / "adm.npz")
    assert read.num is None
    assert read.spatial is not None
    assert read.has_images


@pytest.mark.parametrize("num", [2100, 300])
def test_frechet_distance_of_wide_features_equals_scipy(num: int) -> None:
    """With 300 images of 512 features, the covariances are singular."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(512, 512)) / 20
    first, second = (streamed((rng.normal(size=(num, 512)) @ mixing + shift).astype(np.float32)) for shift in (0, 0.1))
    root = linalg.sqrtm(first.sigma @ second.sigma).real
    wanted = np.square(first.mu - second.mu).sum() + np.trace(first.sigma + second.sigma - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)


def test_bad_references_are_one_clear_error(tmp_path) -> None:
    made, path = streamed(features(0)), tmp_path / "reference.npz"
    with pytest.raises(UserError, match="does not exist"):
        load_reference(path)
    for content, message in [
        ({"sigma": made.sigma}, "no arrays 'mu' and 'sigma'"),
        ({"mu": made.mu[:3], "sigma": made.sigma}, "want \\(D,\\)"),
        ({"mu": made.mu * np.nan, "sigma": made.sigma}, "NaN or Inf"),
    ]:
        np.savez(path, **content)
        with pytest.raises(UserError, match=message):
            load_reference(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a readable"):
        load_reference(path)
    with pytest.raises(UserError, match="different widths: 16 and 8"):
        frechet_distance(made, streamed(features(0, width=8)))
    with pytest.raises(UserError, match="at least 2 images, got 1"):
        streamed(features(0, num=1))


def test_scores_of_too_few_images_are_refused() -> None:
    check_enough(["fid", "inception_score_ten_splits"], 10, "runs/a")
    with pytest.raises(UserError, match="inception_score_ten_splits needs at least 10 images, runs/a has 9"):
        check_enough(["fid", "inception_score_ten_splits"], 9, "runs/a")
