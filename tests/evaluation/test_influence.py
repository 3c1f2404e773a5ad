"""The interval of FID: its coverage over fresh sets, and what is said of two sets of the same noise."""

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.influence import FIDSpread, _signs, fid_spread
from evaluation.metrics.spread import describe_difference
from evaluation.metrics.statistics import Statistics, statistics

WIDTH = 8
REFERENCE = Statistics(np.zeros(WIDTH), np.eye(WIDTH), None)


def clouds(shift: float, num: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(num, WIDTH))
    return (common + 0.05 * np.random.default_rng(seed + 1).normal(size=common.shape) + shift).astype(np.float32)


class Population:
    """Features with power-law variances: normal, or nonnegative and skewed as those of Inception's pool are."""

    def __init__(self, kind: str, width: int, exponent: float = 1.0):
        rng = np.random.default_rng(0)
        self.kind, self.width = kind, width
        self.mixing = np.linalg.qr(rng.normal(size=(width, width)))[0] * np.arange(1, width + 1) ** (-exponent / 2)
        self.bias = 0.3 * rng.normal(size=width)

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        mixed = rng.normal(size=(num, self.width)) @ self.mixing.T
        values = {
            "normal": lambda: mixed,
            "rectified": lambda: np.maximum(2 * mixed + self.bias, 0),
            "lognormal": lambda: np.exp(mixed + self.bias),
        }[self.kind]()
        return values.astype(np.float32)

    def reference(self, distance: float) -> Statistics:
        """Statistics of other images: at distance 0 of the same population, else scaled and shifted."""
        rng = np.random.default_rng(1)
        values = self.draw(20_000, rng)
        scales = 1 + distance * rng.normal(size=self.width)
        return statistics((values * scales + distance / 3 * values.std(axis=0)).astype(np.float32))


def coverage(estimates: list[tuple[float, tuple[float, float]]]) -> float:
    """How many intervals hold the mean of the values over fresh sets."""
    mean = np.mean([value for value, _ in estimates])
    return float(np.mean([low <= mean <= high for _, (low, high) in estimates]))


def singles(population: Population, reference: Statistics, num: int, repeats: int) -> float:
    rng = np.random.default_rng(2)
    found = [fid_spread([population.draw(num, rng)], reference).spread(0) for _ in range(repeats)]
    return coverage([(spread.value, spread.interval) for spread in found])


def pairs(population: Population, reference: Statistics, num: int, repeats: int, noises: tuple[float, float]) -> float:
    """Two sets of the same images, each with noise of its own."""
    rng = np.random.default_rng(3)
    std, found = population.draw(5000, rng).std(axis=0), []
    for _ in range(repeats):
        shared = population.draw(num, rng)
        sets = [(shared + noise * std * rng.normal(size=shared.shape)).astype(np.float32) for noise in noises]
        found.append(fid_spread(sets, reference).difference(0, 1))
    return coverage([(spread.value, spread.interval) for spread in found])


def narrower(images_per_feature: float) -> int:
    """A width for which the simulation takes a second or two."""
    return 32 if images_per_feature > 10 else 64


@pytest.mark.parametrize("images_per_feature", [1, 2.5, 16])
@pytest.mark.parametrize(("kind", "distance"), [("normal", 0.3), ("rectified", 0.1), ("rectified", 0)])
def test_intervals_hold_the_mean_of_fresh_sets(kind: str, distance: float, images_per_feature: float) -> None:
    population = Population(kind, width := narrower(images_per_feature))
    found = singles(population, population.reference(distance), int(width * images_per_feature), 200)
    assert 0.92 <= found <= 0.98


@pytest.mark.parametrize("images_per_feature", [1, 2.5, 16])
@pytest.mark.parametrize("noises", [(0.15, 0.15), (0.03, 0.2)])
def test_intervals_of_a_difference_hold_its_mean(noises: tuple[float, float], images_per_feature: float) -> None:
    population = Population("rectified", width := narrower(images_per_feature))
    found = pairs(population, population.reference(0.1), int(width * images_per_feature), 200, noises)
    assert 0.92 <= found <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("images_per_feature", [1, 2.5, 16])
@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("distance", [0, 0.1, 0.3])
@pytest.mark.parametrize("kind", ["normal", "rectified", "lognormal"])
def test_intervals_hold_for_many_populations(
    kind: str, distance: float, exponent: float, images_per_feature: float
) -> None:
    """Wider limits than above: 300 sets leave an error of 0.013 to a coverage."""
    population = Population(kind, 64, exponent)
    reference, num = population.reference(distance), int(64 * images_per_feature)
    assert 0.90 <= singles(population, reference, num, 300) <= 0.993
    assert 0.90 <= pairs(population, reference, num, 200, (0.1, 0.15)) <= 0.993


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_the_std_is_how_fid_scatters_over_seeds(shift: float) -> None:
    """Far from the reference, where FID is linear in its noise, and at it, where FID is all noise."""
    fresh = [frechet_distance(statistics(clouds(shift, seed=seed)), REFERENCE) for seed in range(2, 802, 2)]
    stds = [fid_spread([clouds(shift, seed=1000 + s)], REFERENCE).spread(0).std for s in range(0, 100, 2)]
    assert np.mean(stds) == pytest.approx(np.std(fresh, ddof=1), rel=0.15)


def test_an_influence_is_how_fid_changes_without_the_image() -> None:
    values = Population("rectified", 16).draw(2000, np.random.default_rng(4))
    reference = Population("rectified", 16).reference(0.3)
    found = fid_spread([values], reference).sets[0]
    assert found.fid == frechet_distance(statistics(values), reference)
    without = [found.fid - frechet_distance(statistics(np.delete(values, i, 0)), reference) for i in range(200)]
    expected = found.values[:200] / (len(values) - 1)
    assert np.corrcoef(without, expected)[0, 1] > 0.999
    assert np.std(without) == pytest.approx(np.std(expected), rel=0.02)


def compared(*sets: np.ndarray) -> FIDSpread:
    return fid_spread(iter(sets), REFERENCE)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (0.50, 0.50, "is no worse than 10%"),
        (0.50, 0.70, "is worse by more than 10%"),
        (0.70, 0.50, "is better"),
    ],
)
def test_verdicts(first: float, second: float, verdict: str) -> None:
    fids = compared(clouds(first), clouds(second))
    difference = fids.difference(0, 1)
    assert difference.value == pytest.approx(fids.values[1] - fids.values[0])
    assert describe_difference(("a", "b"), fids.values[0], difference).endswith(verdict)


def test_pairing_makes_the_difference_surer_than_either_value() -> None:
    fids = compared(clouds(0.5), clouds(0.52))
    assert fids.difference(0, 1).std < 0.3 * fids.spread(0).std


def test_a_set_does_not_differ_from_itself() -> None:
    difference = compared(clouds(0.5), clouds(0.5)).difference(0, 1)
    assert (difference.value, difference.std) == (0, 0)


def test_few_images_cannot_tell() -> None:
    fids = compared(clouds(0.1, 30), clouds(0.1, 30, seed=9))
    text = describe_difference(("a", "b"), fids.values[0], fids.difference(0, 1))
    assert text.endswith("cannot be told apart with so few images")


@pytest.mark.parametrize("num", [2, 5, WIDTH])
def test_fewer_images_than_features_have_an_interval(num: int) -> None:
    spread = fid_spread([clouds(0.3, num)], REFERENCE).spread(0)
    assert np.isfinite(spread.std)
    assert spread.std > 0


def test_one_set_at_a_time_is_in_memory() -> None:
    """Each set is asked for only when the one before it is done."""
    events: list[str] = []

    def sets() -> Callable:
        for name in "abc":
            events.append(f"made {name}")
            yield clouds(0.1, 20)

    fid_spread(sets(), REFERENCE, show=lambda done: events.append(f"done {done}"))
    assert events == ["made a", "done 1", "made b", "done 2", "made c", "done 3"]


def test_interactions_are_second_derivatives_in_the_weights_of_images() -> None:
    """Of a set unlike its reference, by differences: FID of weighted images, of which each sign moves the weights."""
    rng, num, width, step = np.random.default_rng(0), 40, 3, 1e-4
    features = rng.normal(size=(num, width)) * [1.0, 0.5, 2.0] + [0.5, -1.0, 0.0]
    reference = statistics(rng.normal(size=(500, width)) @ rng.normal(size=(width, width)))

    def weighted_fid(weights: np.ndarray) -> float:
        mean = weights @ features
        centred = features - mean
        return frechet_distance(Statistics(mean, (weights * centred.T) @ centred, None), reference)

    def second_derivative(first: np.ndarray, second: np.ndarray) -> float:
        even = np.full(num, 1 / num)
        return sum(a * b * weighted_fid(even + step * (a * first + b * second)) for a in (1, -1) for b in (1, -1)) / (
            4 * step**2
        )

    moves = np.eye(num) - 1 / num  # of one weight, with the sum of all as it was
    interactions = np.array([[second_derivative(first, second) for second in moves] for first in moves])
    [influence] = fid_spread([features], reference).sets
    signs = _signs(num)
    wanted = signs @ (interactions - np.diag(np.diag(interactions))) / num
    # The covariance of FID divides by N - 1, so its interactions are N / (N - 1) times those.
    assert np.allclose(influence.noise, wanted - wanted.mean(axis=1, keepdims=True), rtol=0.05, atol=0.05)
