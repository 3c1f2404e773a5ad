import numpy as np
import pytest

from evaluation.metrics.distances import inception_score
from evaluation.metrics.spread import bootstrap_inception_score, mean_spread
from evaluation.metrics.statistics import statistics


def test_counts_stand_for_repeated_images() -> None:
    values, counts = (
        np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32),
        np.random.default_rng(0).integers(0, 4, size=50),
    )
    ours, repeated = statistics(values, counts), statistics(np.repeat(values, counts, axis=0))
    assert np.allclose(ours.mu, repeated.mu)
    assert np.allclose(ours.sigma, repeated.sigma)


def test_inception_score_scatters_as_fresh_sets_do() -> None:
    rng = np.random.default_rng(0)

    def logits() -> np.ndarray:
        return 3 * np.eye(10)[rng.integers(10, size=500)] + rng.normal(size=(500, 10))

    fresh = [inception_score(logits(), 5000) for _ in range(200)]
    found = [bootstrap_inception_score(logits(), 5000, 100) for _ in range(5)]
    assert np.mean([spread.std for spread in found]) == pytest.approx(np.std(fresh), rel=0.25)
    own = logits()
    assert bootstrap_inception_score(own, 5000, 2).value == pytest.approx(inception_score(own, 5000))


def test_the_interval_of_a_mean_is_that_of_the_central_limit() -> None:
    values = np.random.default_rng(1).normal(0.3, 0.05, size=2000)
    spread = mean_spread(values, 500)
    assert spread.value == values.mean()
    assert spread.std == pytest.approx(values.std() / np.sqrt(2000), rel=0.15)


def test_the_mean_of_paired_differences_is_surer_than_either_mean() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(0.3, 0.05, size=500)
    first, second = shared + rng.normal(0.004, 0.01, size=500), shared + rng.normal(0, 0.01, size=500)
    difference = mean_spread(first - second, 500)
    assert difference.interval[0] > 0
    assert difference.std < mean_spread(first, 500).std / 2
