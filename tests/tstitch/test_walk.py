"""A walk that rests between two spans, and one that does not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.sampling import Span, Walk, sample, spans
from tstitch.schedule import make_schedule, make_timesteps
from tstitch.solvers.make import SAMPLERS, solver_factory
from tstitch.solvers.steps import trajectory_steps

SCHEDULE = make_schedule("linear", num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02)
ALLOCATION = (0, 0, 0, 1, 1, 0, 0, 0)
LATENTS = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))


def noise(index: int) -> Tensor:
    return torch.randn(LATENTS.shape, generator=torch.Generator().manual_seed(index))


def denoiser(weight: float) -> Callable[[Tensor, Tensor, Tensor], Prediction]:
    return lambda x, t, condition: Prediction(weight * x + 1e-3 * t.view(-1, 1, 1, 1), torch.zeros_like(x))


DENOISERS = [denoiser(0.5), denoiser(0.7)]
histories = pytest.mark.parametrize("history", ["keep", "reset"])
every_solver = pytest.mark.parametrize("name", SAMPLERS)


def test_spans_are_the_runs_of_the_allocation() -> None:
    assert spans(ALLOCATION) == [Span(0, 0, 3), Span(1, 3, 5), Span(0, 5, 8)]
    assert spans((1, 1)) == [Span(1, 0, 2)]


@every_solver
@histories
def test_walks_that_take_turns_end_where_each_alone_ends(name: str, history: str) -> None:
    timesteps = make_timesteps("ddim_stride", len(ALLOCATION), 1000)
    solver, steps = solver_factory(name, SCHEDULE, timesteps), trajectory_steps(SCHEDULE, timesteps)
    starts = [LATENTS, LATENTS.flip(0)]
    alone = [sample(DENOISERS, ALLOCATION, solver, steps, start, start, noise, history=history) for start in starts]
    walks = [Walk(solver, steps, start, start, noise, history=history) for start in starts]
    for span in spans(ALLOCATION):
        for walk in walks:
            walk.advance(DENOISERS[span.denoiser], span)
    for walk, expected in zip(walks, alone, strict=True):
        assert torch.equal(walk.latents, expected)
    assert not torch.equal(alone[0], alone[1])


def test_a_span_out_of_order_is_refused() -> None:
    timesteps = make_timesteps("dit_linspace", 2, 1000)
    walk = Walk(
        solver_factory("ddim", SCHEDULE, timesteps), trajectory_steps(SCHEDULE, timesteps), LATENTS, LATENTS, noise
    )
    with pytest.raises(AssertionError, match="in order"):
        walk.advance(DENOISERS[0], Span(0, 1, 2))


@every_solver
@histories
def test_a_walk_that_goes_on_from_another_ones_switch_ends_as_if_it_had_walked_all_of_it(
    name: str, history: str
) -> None:
    timesteps = make_timesteps("ddim_stride", len(ALLOCATION), 1000)
    solver, steps = solver_factory(name, SCHEDULE, timesteps), trajectory_steps(SCHEDULE, timesteps)
    rest = None
    for switch in (2, 3, 5):
        allocation = (0,) * switch + (1,) * (len(steps) - switch)
        walk = Walk(solver, steps, LATENTS, LATENTS, noise, history=history)
        if rest is not None:
            walk.resume(rest)
        for span in spans(allocation):
            walk.advance(DENOISERS[span.denoiser], span)
            rest = walk.rest() if span.start == 0 else rest
        alone = sample(DENOISERS, allocation, solver, steps, LATENTS, LATENTS, noise, history=history)
        assert torch.equal(walk.latents, alone)
