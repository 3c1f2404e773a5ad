import numpy as np
import pytest

from evaluation.metrics import frechet_distance
from evaluation.spread import bootstrap_fid, paired_verdict
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
    _, draws = bootstrap_fid([values], REFERENCE, num_draws=3, seed=7)
    rng = np.random.default_rng(7)
    for draw in draws[:, 0]:
        chosen = values[rng.integers(100, size=100)]
        assert draw == pytest.approx(frechet_distance(statistics(chosen), REFERENCE), rel=1e-9)


def test_the_interval_is_as_wide_as_fid_scatters_over_seeds() -> None:
    values, draws = bootstrap_fid([clouds(0.3)], REFERENCE, num_draws=200)
    assert values[0] == pytest.approx(frechet_distance(statistics(clouds(0.3)), REFERENCE))
    fresh = [frechet_distance(statistics(clouds(0.3, seed=seed)), REFERENCE) for seed in range(2, 202, 2)]
    assert draws.std(ddof=1) == pytest.approx(np.std(fresh, ddof=1), rel=0.25)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (0.50, 0.50, "is no worse than 10%"),
        (0.50, 0.70, "is worse by more than 10%"),
        (0.70, 0.50, "is better"),
    ],
)
def test_verdicts(first: float, second: float, verdict: str) -> None:
    values, draws = bootstrap_fid([clouds(first), clouds(second)], REFERENCE, num_draws=100)
    difference, text = paired_verdict(("a", "b"), values, draws)
    assert difference.value == pytest.approx(values[1] - values[0])
    assert text.endswith(verdict)


def test_pairing_makes_the_difference_surer_than_either_value() -> None:
    _, draws = bootstrap_fid([clouds(0.5), clouds(0.52)], REFERENCE, num_draws=100)
    assert (draws[:, 1] - draws[:, 0]).std() < 0.3 * draws.std(axis=0).min()


def test_few_images_cannot_tell() -> None:
    values, draws = bootstrap_fid([clouds(0.1, 30), clouds(0.1, 30, seed=9)], REFERENCE, num_draws=100)
    assert paired_verdict(("a", "b"), values, draws)[1].endswith("cannot be told apart with so few images")
