"""Solvers on a Gaussian, whose exact denoiser and exact flow are known."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.networks import GivenNoise, InMemory
from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter
from tstitch.sample import StepResult, sample
from tstitch.schedule import NoiseSchedule, linear_schedule, make_timesteps, scaled_linear_schedule
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import lcm_step, trajectory_steps

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


def run(
    num_steps: int,
    sampler: str,
    eta: float = 0.0,
    denoisers=None,
    allocation=None,
    num_images: int = 4,
    grid: str = "dit_linspace",
    schedule: NoiseSchedule = SCHEDULE,
    **kwargs,
) -> torch.Tensor:
    timesteps = make_timesteps(grid, num_steps)
    noise = ImageNoise(0, range(num_images))
    return sample(
        AllocationRouter(allocation or (0,) * len(timesteps)),
        InMemory(denoisers or [GaussianDenoiser()], torch.zeros(num_images)),
        solver_factory(sampler, schedule, timesteps, eta),
        trajectory_steps(schedule, timesteps),
        noise.latents(SHAPE).double(),
        GivenNoise(lambda index: noise.step(index, SHAPE).double()),
        **kwargs,
    )


def exact_flow(num_images: int = 4) -> torch.Tensor:
    """Where the probability-flow ODE ends: the start noise scaled by the ratio of the deviations."""
    alpha_bar = float(SCHEDULE.alphas_cumprod[-1])
    start_std = math.sqrt(alpha_bar * DATA_STD**2 + 1 - alpha_bar)
    return ImageNoise(0, range(num_images)).latents(SHAPE).double() * DATA_STD / start_std


def test_ddim_converges_to_the_exact_flow_at_first_order() -> None:
    errors = [((run(n, "ddim") - exact_flow()).norm() / exact_flow().norm()).item() for n in (25, 50, 100)]
    assert errors[2] < 0.03
    for coarse, fine in pairwise(errors):
        assert 1.6 < coarse / fine < 2.4


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.5)])
def test_stochastic_solvers_give_the_data_distribution(name: str, eta: float) -> None:
    result = run(500, name, eta, num_images=64)
    assert result.std().item() == pytest.approx(DATA_STD, rel=0.03)
    assert abs(result.mean().item()) < 0.02


def test_ddpm_with_posterior_variance_is_ddim_with_eta_one() -> None:
    ddpm, ddim = run(20, "ddpm"), run(20, "ddim", 1.0)
    assert torch.allclose(ddpm, ddim, atol=1e-9)


def test_learned_range_moves_the_variance_from_posterior_to_beta() -> None:
    low, high = (run(20, "ddpm", denoisers=[GaussianDenoiser(v)], num_images=64).std() for v in (-1.0, 1.0))
    assert high > low * 1.05


def test_stitching_equal_denoisers_changes_nothing_and_calls_each_where_it_should() -> None:
    pair = [GaussianDenoiser(), GaussianDenoiser()]
    trace: list[StepResult] = []
    stitched = run(10, "ddim", 0.5, pair, (0,) * 4 + (1,) * 6, callback=trace.append)
    assert torch.equal(stitched, run(10, "ddim", 0.5))
    timesteps = make_timesteps("dit_linspace", 10)
    assert pair[0].timesteps == timesteps[:4]
    assert pair[1].timesteps == timesteps[4:]
    assert [done.model for done in trace] == [0] * 4 + [1] * 6
    assert [done.step.timestep for done in trace] == timesteps
    assert torch.equal(trace[-1].latents, stitched)


def test_denoiser_that_is_not_used_may_be_absent() -> None:
    assert torch.equal(run(5, "ddim", denoisers=[None, GaussianDenoiser()], allocation=(1,) * 5), run(5, "ddim"))


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("unipc", 2)])
def test_errors_fall_with_the_order_of_the_solver(sampler: str, order: int) -> None:
    """From t = 999 to t = 100, where every solver is in its asymptotic range."""
    end = float(SCHEDULE.alphas_cumprod[100])
    schedule = replace(SCHEDULE, final_alpha_bar=end)
    start = ImageNoise(0, range(4)).latents(SHAPE).double()
    first = float(SCHEDULE.alphas_cumprod[999])
    exact = start * math.sqrt((end * DATA_STD**2 + 1 - end) / (first * DATA_STD**2 + 1 - first))
    errors = []
    for num_steps in (29, 58, 116):
        timesteps = [round(100 + 899 * (1 - i / num_steps)) for i in range(num_steps)]
        factory = solver_factory(sampler, schedule, timesteps)
        steps = trajectory_steps(schedule, timesteps)
        networks = InMemory([GaussianDenoiser()], torch.zeros(4))
        result = sample(AllocationRouter((0,) * num_steps), networks, factory, steps, start, GivenNoise(lambda _: None))
        errors.append(((result - exact).norm() / exact.norm()).item())
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 2**order * 0.75, errors
        assert order > 1 or coarse / fine < 3, errors


def test_euler_in_sigma_space_is_ddim() -> None:
    assert torch.allclose(run(20, "euler"), run(20, "ddim"), atol=1e-5)


@pytest.mark.parametrize("num_steps", [6, 7, 11, 20])
@pytest.mark.parametrize("grid", ["ldm_uniform", "ddim_stride"])
def test_pndm_of_diffusers_is_our_plms_where_it_is_right(grid: str, num_steps: int) -> None:
    """Also where 1,000 divided by the grid's stride is no number of steps that gives the stride back."""
    schedule = scaled_linear_schedule(0.0015, 0.0195)
    ours, theirs = (run(num_steps, name, grid=grid, schedule=schedule) for name in ("plms", "pndm"))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_our_ddim_is_that_of_diffusers_on_the_leading_grid() -> None:
    from diffusers import DDIMScheduler

    for spacing, grid, agrees in [("leading", "ddim_stride", True), ("linspace", "dit_linspace", False)]:
        scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, timestep_spacing=spacing, clip_sample=False)
        scheduler.set_timesteps(50)
        assert scheduler.timesteps.tolist() == make_timesteps(grid, 50)
        denoiser, x = GaussianDenoiser(), ImageNoise(0, range(4)).latents(SHAPE).double()
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(x, t.repeat(4), None).eps, t, x).prev_sample
        ours = run(50, "ddim", grid=grid)
        difference = ((x - ours).norm() / ours.norm()).item()
        if agrees:
            assert difference < 1e-5
        else:
            # It takes t - 20 for the next timestep where the grid has steps of 20.39, so it runs past
            # the end of its grid: half a percent here, and the last noise is not removed.
            assert 1e-3 < difference < 0.1


def test_lcm_step_is_that_of_diffusers() -> None:
    from diffusers import LCMScheduler

    scheduler = LCMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    scheduler.set_timesteps(timesteps=[999, 499], original_inference_steps=1000)
    x, steps = ImageNoise(0, range(4)).latents(SHAPE), trajectory_steps(SCHEDULE, [999, 499])
    eps = GaussianDenoiser()(x, torch.full((4,), 999), None).eps
    generator = torch.Generator().manual_seed(0)
    theirs = scheduler.step(eps, scheduler.timesteps[0], x, generator=generator).prev_sample
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    ours = lcm_step(lambda x, t: Prediction(eps), x, steps[0], lambda index: noise)
    assert torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "plms", "dpmpp_2m", "unipc", "heun", "euler", "pndm"])
@pytest.mark.parametrize("history", ["keep", "reset"])
def test_every_solver_keeps_to_the_allocation(sampler: str, history: str) -> None:
    """No step mixes two networks; with equal networks a stitched trajectory is the plain one where history is kept."""
    pair, grid = [GaussianDenoiser(), GaussianDenoiser()], "ddim_stride"
    timesteps, switch = make_timesteps(grid, 20), 8
    allocation = (0,) * switch + (1,) * (20 - switch)
    stitched = run(20, sampler, denoisers=pair, allocation=allocation, grid=grid, history=history)
    plain = run(20, sampler, grid=grid)
    if history == "keep" or sampler in ("ddim", "heun", "euler"):
        assert torch.equal(stitched, plain)
    else:
        assert 0 < (stitched - plain).norm() / plain.norm() < 0.05
    assert min(pair[0].timesteps) >= timesteps[switch]  # Heun and PLMS look one timestep ahead
    assert max(pair[1].timesteps) == timesteps[switch]
    calls = len(pair[0].timesteps) + len(pair[1].timesteps)
    extra = {"heun": 19, "plms": 1, "pndm": 1}.get(sampler, 0)
    assert calls == 20 + extra + (history == "reset" and sampler in ("plms", "pndm"))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "unipc", "heun", "euler"])
def test_schedulers_end_where_latent_diffusion_does(sampler: str) -> None:
    schedule = scaled_linear_schedule(0.0015, 0.0195)
    reference = run(200, "ddim", grid="ldm_uniform", schedule=schedule)
    ours = run(50, sampler, grid="ldm_uniform", schedule=schedule)
    assert ((ours - reference).norm() / reference.norm()).item() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(3, "heun9"), "unknown sampler 'heun9'; known: ddim, ddpm, plms"),
        (lambda: run(3, "ddim", 1.5), r"eta must lie in \[0, 1\], got 1.5"),
        (lambda: run(3, "ddpm", 0.5), "ddpm has no eta"),
        (lambda: run(7, "pndm"), "pndm needs a grid with a whole stride"),
        (lambda: run(3, "ddpm", denoisers=[GaussianDenoiser(None)]), "predict a variance"),
    ],
)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
