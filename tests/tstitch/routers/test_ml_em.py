"""ML-EM on Gaussians: mean and variance of its ends are known in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.tstitch.routers.gaussians import LARGE, SHAPE, SMALL, run, steps_of
from tstitch.errors import UserError
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter, Ledger, Stage
from tstitch.routers.ml_em import BERNOULLI, SYSTEMATIC, MLEMRouter, geometric_probabilities, spread_budget

MANY, N = 4000, 10


def moments(start: float, probabilities: list[float]) -> tuple[float, float]:
    """Mean and variance of the end of a DDIM trajectory from one start, with independent draws.

    x' = (A + B c_L) x + B d_L + B (b / p - 1) (p_L - p_S), where b / p - 1 has mean 0 and variance (1 - p) / p.
    """
    mean, variance = start, 0.0
    for step, p in zip(steps_of(len(probabilities)), probabilities, strict=True):
        now, nxt = step.alpha_bar, step.alpha_bar_next
        keep, move = math.sqrt(nxt / now), math.sqrt(1 - nxt) - math.sqrt(1 - now) * math.sqrt(nxt / now)
        (small_slope, small_at), (slope, at) = SMALL.affine(now), LARGE.affine(now)
        gap = (slope - small_slope) * mean + at - small_at
        spread = (1 - p) / p * (gap**2 + (slope - small_slope) ** 2 * variance)
        variance = (keep + move * slope) ** 2 * variance + move**2 * spread
        mean = (keep + move * slope) * mean + move * at
    return mean, variance


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_independent_draws_are_unbiased_and_have_the_variance_of_the_formula(p: float) -> None:
    latents = torch.full((MANY, *SHAPE), 0.8)
    ends = run(MLEMRouter((p,) * N, BERNOULLI), MANY, N, latents=latents).double()
    mean, variance = moments(0.8, [p] * N)
    assert run(AllocationRouter((1,) * N), 1, N, latents=latents[:1]).mean() == pytest.approx(mean, abs=1e-5)
    # All values of an image share its draws, so there are MANY independent ones.
    ends = ends.flatten(1).mean(dim=1)
    assert ends.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / MANY))
    assert ends.var() == pytest.approx(variance, rel=0.2)


def test_systematic_draws_take_exactly_the_budget_and_vary_less() -> None:
    latents = torch.full((MANY, *SHAPE), 0.8)
    ledgers = {draws: Ledger() for draws in (BERNOULLI, SYSTEMATIC)}
    ends = {
        draws: run(MLEMRouter((0.3,) * N, draws), MANY, N, latents=latents, ledger=own)
        for draws, own in ledgers.items()
    }
    assert ledgers[SYSTEMATIC].decisions["large_steps"].unique().tolist() == [3]
    assert ledgers[SYSTEMATIC].evaluations == {0: N * MANY, 1: 3 * MANY}
    counts = ledgers[BERNOULLI].decisions["large_steps"].double()
    assert counts.mean() == pytest.approx(3, abs=4 * math.sqrt(2.1 / MANY))
    assert counts.var() == pytest.approx(2.1, rel=0.15)
    assert ends[SYSTEMATIC].flatten(1).mean(dim=1).var() < ends[BERNOULLI].flatten(1).mean(dim=1).var()


def test_systematic_draws_move_the_mean_of_a_trajectory_as_an_integral_over_their_one_number_says() -> None:
    """The draws of its steps depend on each other: which is known here, and far above the sampling error."""
    p, uniform = 0.3, (np.arange(MANY) + 0.5) / MANY
    ends, total = np.full(MANY, 0.8), 0.0
    for step in steps_of(N):
        now, nxt = step.alpha_bar, step.alpha_bar_next
        keep, move = math.sqrt(nxt / now), math.sqrt(1 - nxt) - math.sqrt(1 - now) * math.sqrt(nxt / now)
        is_drawn = np.floor(total + p - uniform) > np.floor(total - uniform)
        (small_slope, small_at), (slope, at) = SMALL.affine(now), LARGE.affine(now)
        small, large = small_slope * ends + small_at, slope * ends + at
        ends, total = keep * ends + move * (small + is_drawn / p * (large - small)), total + p
    latents = torch.full((MANY, *SHAPE), 0.8)
    ours = run(MLEMRouter((p,) * N, SYSTEMATIC), MANY, N, latents=latents).double().flatten(1).mean(dim=1)
    error = float(ours.std()) / math.sqrt(MANY)
    assert float(ours.mean()) == pytest.approx(ends.mean(), abs=4 * error)
    assert ends.mean() - moments(0.8, [p] * N)[0] > 20 * error


def test_systematic_draws_have_the_probability_of_each_step() -> None:
    probabilities = (0.0, 0.15, 0.35, 1.0, 0.5, 0.75, 0.25)
    route = MLEMRouter(probabilities).start(ImageNoise(3, range(MANY)), steps_of(7))
    share = route.drawn.mean(axis=1)
    np.testing.assert_allclose(share, probabilities, atol=4 * math.sqrt(0.25 / MANY))
    assert set(route.drawn.sum(axis=0)) == {3}


def test_draws_are_an_images_own_and_apart_from_its_noise() -> None:
    one = ImageNoise(3, [5]).routing(0, 4)
    assert one == ImageNoise(3, range(9)).routing(0, 4)[5]
    others = [ImageNoise(4, [5]).routing(0, 4), ImageNoise(3, [6]).routing(0, 4), ImageNoise(3, [5]).routing(1, 4)]
    assert len({float(each[0]) for each in (one, *others, ImageNoise(3, [5]).routing(0, 5))}) == 5


def test_the_plan_says_where_the_small_one_is_not_asked() -> None:
    plan = MLEMRouter((1.0, 0.5, 0.5, 0.0)).describe(steps_of(4), ("S", "L"))
    assert plan == "S at every step but 1, L at an expected 2 of 4 steps (systematic draws for each image)"


def test_stages_hold_the_models_that_a_step_can_need() -> None:
    router = MLEMRouter((0.0, 0.0, 0.5, 0.25, 1.0))
    assert router.stages(steps_of(5)) == (Stage((0,), 0, 2), Stage((0, 1), 2, 4), Stage((1,), 4, 5))


def test_the_best_probabilities_are_those_of_a_constrained_search() -> None:
    weights = np.array([0.05, 3.0, 0.4, 0.9, 0.02, 1.5])
    found = np.array(spread_budget(weights, 2.5))

    def variance(p: np.ndarray) -> float:
        return float((weights**2 * (1 / p - 1)).sum())

    searched = minimize(
        variance, np.full(6, 2.5 / 6), bounds=[(1e-3, 1)] * 6, method="SLSQP", options={"maxiter": 500, "ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda p: p.sum() - 2.5},
    )  # fmt: skip
    assert found.sum() == pytest.approx(2.5)
    assert found[1] == 1
    np.testing.assert_allclose(found, searched.x, atol=2e-3)
    assert variance(found) <= variance(searched.x) * (1 + 1e-6)


def test_geometric_probabilities() -> None:
    found = np.array(geometric_probabilities(8, mean=0.5, ratio=2))
    assert found.sum() == pytest.approx(4)
    free = found[found < 1]
    np.testing.assert_allclose(free[1:] / free[:-1], 2)
    assert list(found) == sorted(found)
    assert geometric_probabilities(5, mean=0.2, ratio=1) == pytest.approx((0.2,) * 5)
    assert sum(geometric_probabilities(2000, mean=0.1, ratio=3.0)) == pytest.approx(200), "3 ** 2000 is no float"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLEMRouter((0.5, 1.2)), r"probabilities must lie in \[0, 1\], got \[0.5, 1.2\]"),
        (lambda: MLEMRouter((0.5,), "sobol"), "unknown draws 'sobol'; known: bernoulli, systematic"),
        (lambda: spread_budget([1, 0, 1], 2.5), "a budget of 2.5 steps does not fit 2 steps with a weight above 0"),
        (lambda: spread_budget([1, -1], 1), r"weights must be finite and 0 or more, got \[1, -1\]"),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
