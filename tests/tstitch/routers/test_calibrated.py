"""Allocations from a calibration: TRACK and the knapsack, against all that there are."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from tests.tstitch.routers.gaussians import steps_of
from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.routers.knapsack import best_allocation, segment_allocations
from tstitch.routers.track import step_weights, track_allocation
from tstitch.solvers.steps import ddim_step


def test_track_takes_the_steps_of_least_disagreement_in_whatever_pattern() -> None:
    assert track_allocation([0.3, 0.1, 0.5, 0.1, 0.2], 3) == (1, 0, 1, 0, 0)
    assert track_allocation([0.3, 0.1, 0.5, 0.1, 0.2], 0) == (1,) * 5
    assert track_allocation([0.3, 0.1, 0.5, 0.1, 0.2], 5) == (0,) * 5
    assert track_allocation([0.2, 0.2, 0.2], 1) == (0, 1, 1), "the earlier of equal ones"


def test_step_weights_are_the_derivative_of_a_step() -> None:
    x = torch.randn(1, 1, 2, 2, dtype=torch.float64)
    for step, weight in zip(steps_of(9), step_weights(steps_of(9)), strict=True):
        take = partial(ddim_step, eta=0.0)
        moved = [
            take(lambda x, t, value=value: Prediction(torch.full_like(x, value)), x, step, None) for value in (0, 1)
        ]
        torch.testing.assert_close((moved[1] - moved[0]).abs(), torch.full_like(x, weight))


def losses_of(num_steps: int, num_models: int, seed: int) -> np.ndarray:
    losses = np.sort(np.random.default_rng(seed).random((num_steps, num_models)), axis=1)[:, ::-1]
    losses[:, -1] = 0
    return losses


@pytest.mark.parametrize(("num_steps", "costs"), [(10, (1, 5.5)), (7, (1, 4, 20.8)), (5, (1, 2.5, 4, 9))])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.8, 1.0])
def test_the_knapsack_finds_the_best_of_all_allocations(num_steps: int, costs: tuple, share: float) -> None:
    losses = losses_of(num_steps, len(costs), seed=num_steps)
    budget = num_steps * (costs[0] + share * (costs[-1] - costs[0]))
    everything = [
        (sum(losses[i, m] for i, m in enumerate(each)), each)
        for each in itertools.product(range(len(costs)), repeat=num_steps)
        if sum(costs[m] for m in each) <= budget * (1 + 1e-9)
    ]
    found = best_allocation(losses, costs, budget)
    assert sum(costs[m] for m in found) <= budget * (1 + 1e-9)
    assert sum(losses[i, m] for i, m in enumerate(found)) == pytest.approx(min(everything)[0])


def test_of_two_models_it_is_track() -> None:
    disagreement = np.random.default_rng(3).random(40)
    for num_small in (0, 7, 25, 40):
        budget = num_small * 1.0 + (40 - num_small) * 6.0
        losses = np.stack([disagreement, np.zeros(40)], axis=1)
        assert best_allocation(losses, (1.0, 6.0), budget) == track_allocation(disagreement.tolist(), num_small)


def test_a_hundred_steps_of_three_models() -> None:
    found = best_allocation(losses_of(100, 3, seed=1), (1, 4, 20.8), budget=900)
    assert len(found) == 100
    assert 850 < sum((1, 4, 20.8)[m] for m in found) <= 900


def test_ten_segments_are_1024_allocations() -> None:
    found = list(segment_allocations(25, 10))
    assert len(set(found)) == 1024
    assert {len(each) for each in found} == {25}
    assert (0,) * 12 + (1,) * 13 in found
    assert len(list(segment_allocations(6, 3, num_models=3))) == 27


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: track_allocation([0.1, math.nan], 1), "disagreements must be finite and 0 or more"),
        (lambda: track_allocation([0.1, 0.2], 3), r"the small model's steps must be 0\.\.2, got 3"),
        (
            lambda: best_allocation(losses_of(4, 2, 0), (1, 2), 3.9),
            "a budget of 3.9 is less than 4 steps of the cheapest",
        ),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
