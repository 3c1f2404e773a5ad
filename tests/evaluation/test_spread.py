import numpy as np
import pytest

from evaluation.metrics import frechet_distance, inception_score
from evaluation.spread import bootstrap_fid, bootstrap_inception_score, describe_difference, mean_spread
from evaluation.statistics import Statistics, statistics

WIDTH = 8
REFERENCE = Statistics(np.zeros(WIDTH), np.eye(WIDTH), None)


def clouds(shift: float, num: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(num, WIDTH))
    return (common + 0.05 * np.random.default_rng(seed + 1).normal(size=common.shape) + shift).astype(np.float32)


def test_counts_stand_for_repeated_images() -> None:
    values, counts = clouds(0, 50), np.random.default_rng(0).integers(0, 4, size=50)
    ours, repeated = statistics(values, counts), statistics(np.repeat(values, counts, axis=0))
    assert np.allclose(ours.mu, repeated.mu)
    assert np.allclose(ours.sigma, repeated.sigma)


def test_a_draw_is_the_fid_of_the_repeated_images() -> None:
    values = clouds(0.2, 100)
    bootstrap = bootstrap_fid([values], REFERENCE, num_draws=3, seed=7)
    rng = np.random.default_rng(7)
    for draw, own in zip(bootstrap.draws[:, 0], bootstrap.own[:, 0], strict=True):
        chosen = statistics(values[rng.integers(100, size=100)])
        assert draw == pytest.approx(frechet_distance(chosen, REFERENCE), rel=1e-9)
        assert own == pytest.approx(frechet_distance(chosen, statistics(values)), rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_the_std_is_how_fid_scatters_over_seeds(shift: float) -> None:
    """Far from the reference, where FID is linear in its noise, and at it, where FID is all noise."""
    fresh = [frechet_distance(statistics(clouds(shift, seed=seed)), REFERENCE) for seed in range(2, 402, 2)]
    stds = [bootstrap_fid([clouds(shift, seed=1000 + s)], REFERENCE, 100).spread(0).std for s in range(6)]
    assert np.mean(stds) == pytest.approx(np.std(fresh, ddof=1), rel=0.25)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (0.50, 0.50, "is no worse than 10%"),
        (0.50, 0.70, "is worse by more than 10%"),
        (0.70, 0.50, "is better"),
    ],
)
def test_verdicts(first: float, second: float, verdict: str) -> None:
    bootstrap = bootstrap_fid([clouds(first), clouds(second)], REFERENCE, num_draws=100)
    difference = bootstrap.difference(0, 1)
    assert difference.value == pytest.approx(bootstrap.values[1] - bootstrap.values[0])
    assert describe_difference(("a", "b"), bootstrap.values[0], difference).endswith(verdict)


def test_pairing_makes_the_difference_surer_than_either_value() -> None:
    bootstrap = bootstrap_fid([clouds(0.5), clouds(0.52)], REFERENCE, num_draws=100)
    assert bootstrap.difference(0, 1).std < 0.3 * bootstrap.spread(0).std


def test_few_images_cannot_tell() -> None:
    bootstrap = bootstrap_fid([clouds(0.1, 30), clouds(0.1, 30, seed=9)], REFERENCE, num_draws=100)
    text = describe_difference(("a", "b"), bootstrap.values[0], bootstrap.difference(0, 1))
    assert text.endswith("cannot be told apart with so few images")


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
