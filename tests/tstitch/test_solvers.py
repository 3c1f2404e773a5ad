"""Solvers on a Gaussian, whose exact denoiser and exact flow are known."""

import math
from itertools import pairwise

import pytest
import torch

from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.noise import ImageNoise
from tstitch.sampling import StepResult, sample
from tstitch.schedule import linear_schedule, make_timesteps
from tstitch.solvers import solver_factory, trajectory_steps

SCHEDULE = linear_schedule()
DATA_STD = 0.5
SHAPE = (1, 16, 16)


class GaussianDenoiser:
    """The exact denoiser of data ~ N(0, DATA_STD^2): eps = sigma_t x / (alpha_t DATA_STD^2 + sigma_t^2)."""

    def __init__(self, variance: float | None = -1.0) -> None:
        self.variance, self.timesteps = variance, []

    def __call__(self, latents, timestep, condition) -> Prediction:
        self.timesteps.append(int(timestep[0]))
        alpha_bar = float(SCHEDULE.alphas_cumprod[timestep[0]])
        eps = latents * math.sqrt(1 - alpha_bar) / (alpha_bar * DATA_STD**2 + 1 - alpha_bar)
        return Prediction(eps, None if self.variance is None else torch.full_like(latents, self.variance))


def run(num_steps: int, solver, denoisers=None, allocation=None, num_images: int = 4, **kwargs) -> torch.Tensor:
    timesteps = make_timesteps("dit_linspace", num_steps)
    noise = ImageNoise(0, range(num_images))
    return sample(
        denoisers or [GaussianDenoiser()],
        allocation or (0,) * num_steps,
        solver,
        trajectory_steps(SCHEDULE, timesteps),
        noise.latents(SHAPE).double(),
        torch.zeros(num_images),
        lambda index: noise.step(index, SHAPE).double(),
        **kwargs,
    )


def exact_flow(num_images: int = 4) -> torch.Tensor:
    """Where the probability-flow ODE ends: the start noise scaled by the ratio of the deviations."""
    alpha_bar = float(SCHEDULE.alphas_cumprod[-1])
    start_std = math.sqrt(alpha_bar * DATA_STD**2 + 1 - alpha_bar)
    return ImageNoise(0, range(num_images)).latents(SHAPE).double() * DATA_STD / start_std


def test_ddim_converges_to_the_exact_flow_at_first_order() -> None:
    errors = [
        ((run(n, solver_factory("ddim")) - exact_flow()).norm() / exact_flow().norm()).item() for n in (25, 50, 100)
    ]
    assert errors[2] < 0.03
    for coarse, fine in pairwise(errors):
        assert 1.6 < coarse / fine < 2.4


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.5)])
def test_stochastic_solvers_give_the_data_distribution(name: str, eta: float) -> None:
    result = run(500, solver_factory(name, eta), num_images=64)
    assert result.std().item() == pytest.approx(DATA_STD, rel=0.03)
    assert abs(result.mean().item()) < 0.02


def test_ddpm_with_posterior_variance_is_ddim_with_eta_one() -> None:
    ddpm, ddim = run(20, solver_factory("ddpm")), run(20, solver_factory("ddim", 1.0))
    assert torch.allclose(ddpm, ddim, atol=1e-9)


def test_learned_range_moves_the_variance_from_posterior_to_beta() -> None:
    low, high = (run(20, solver_factory("ddpm"), [GaussianDenoiser(v)], num_images=64).std() for v in (-1.0, 1.0))
    assert high > low * 1.05


def test_stitching_equal_denoisers_changes_nothing_and_calls_each_where_it_should() -> None:
    pair = [GaussianDenoiser(), GaussianDenoiser()]
    trace: list[StepResult] = []
    stitched = run(10, solver_factory("ddim", 0.5), pair, (0,) * 4 + (1,) * 6, callback=trace.append)
    assert torch.equal(stitched, run(10, solver_factory("ddim", 0.5)))
    timesteps = make_timesteps("dit_linspace", 10)
    assert pair[0].timesteps == timesteps[:4]
    assert pair[1].timesteps == timesteps[4:]
    assert [done.denoiser for done in trace] == [0] * 4 + [1] * 6
    assert [done.step.timestep for done in trace] == timesteps
    assert torch.equal(trace[-1].latents, stitched)


def test_denoiser_that_is_not_used_may_be_absent() -> None:
    assert torch.equal(
        run(5, solver_factory("ddim"), [None, GaussianDenoiser()], (1,) * 5), run(5, solver_factory("ddim"))
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solver_factory("heun9"), "unknown sampler 'heun9'; known: ddim, ddpm, plms"),
        (lambda: solver_factory("ddim", 1.5), r"eta must lie in \[0, 1\], got 1.5"),
        (lambda: solver_factory("ddpm", 0.5), "ddpm has no eta"),
        (lambda: run(3, solver_factory("ddpm"), [GaussianDenoiser(None)]), "predict a variance"),
    ],
)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
