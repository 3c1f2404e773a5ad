"""Models of one Gaussian on several noise schedules, stitched on one trajectory: the exact solution is known."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.networks import GivenNoise
from tstitch.convention import Convention, FlowSchedule, MatchedDenoiser, Scales, VESchedule, match_timestep
from tstitch.denoiser import Prediction
from tstitch.guidance import ConditionedDenoiser, GuidedDenoiser
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter
from tstitch.sample import sample
from tstitch.schedule import NoiseSchedule, cosine_schedule, linear_schedule, make_timesteps, scaled_linear_schedule
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import trajectory_steps

MEAN, DEVIATION, SHAPE, NUM_IMAGES = 0.4, 0.6, (1, 8, 8), 4
STABLE_DIFFUSION = scaled_linear_schedule(0.00085, 0.012)
TRAJECTORIES = {"linear": linear_schedule(), "scaled_linear": scaled_linear_schedule(0.0015, 0.0195)}
OWN = {
    "linear eps": Convention(linear_schedule()),
    "scaled_linear v": Convention(scaled_linear_schedule(0.0015, 0.0195), "v"),
    "cosine eps": Convention(cosine_schedule()),
    "cosine v": Convention(cosine_schedule(), "v"),
    "flow": Convention(FlowSchedule(), "flow"),
    "ve eps": Convention(VESchedule(0.005, 200.0)),
}


@dataclass(frozen=True)
class GaussianModel:
    """Predicts exactly, in its own convention, where clean data are N(MEAN, DEVIATION^2)."""

    own: Convention

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        a, s = self.own.schedule.scales(float(timestep.double()[0]))
        eps = s * (latents - a * MEAN) / (a**2 * DEVIATION**2 + s**2)
        clean = (latents - s * eps) / a if a > 0 else torch.full_like(latents, MEAN)
        by_kind = {"eps": eps, "v": a * eps - s * clean, "flow": eps - clean}
        return Prediction(by_kind[self.own.prediction], torch.zeros_like(latents))


def matched(own: Convention, trajectory: Scales) -> MatchedDenoiser:
    return MatchedDenoiser(ConditionedDenoiser(GaussianModel(own), torch.zeros(NUM_IMAGES)), own, trajectory)


class Models:
    def __init__(self, models: list) -> None:
        self.models = models

    def use(self, models):
        return nullcontext({model: self.models[model] for model in models})


def error(trajectory: NoiseSchedule, models: list, num_steps: int, small_steps: int, solver: str = "ddim") -> float:
    """The relative distance of the end of a trajectory to the exact solution of the probability-flow ODE."""
    timesteps = make_timesteps("ddim_stride", num_steps)
    steps, noise = trajectory_steps(trajectory, timesteps), ImageNoise(0, range(NUM_IMAGES))
    start = noise.latents(SHAPE).double()
    allocation = (0,) * small_steps + (1,) * (num_steps - small_steps)
    end = sample(
        AllocationRouter(allocation), Models(models), solver_factory(solver, trajectory, timesteps), steps, start,
        GivenNoise(lambda index: start),
    )  # fmt: skip
    (a, first), last = trajectory.scales(timesteps[0]), steps[-1].alpha_bar_next
    deviation = math.sqrt(a**2 * DEVIATION**2 + first**2)
    deviation_at_end = math.sqrt(last * DEVIATION**2 + 1 - last)
    exact = math.sqrt(last) * MEAN + deviation_at_end / deviation * (start - a * MEAN)
    return ((end - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("small", OWN)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_models_of_any_schedule_follow_the_exact_solution_wherever_they_are_stitched(
    trajectory: str, small: str
) -> None:
    schedule = TRAJECTORIES[trajectory]
    for large in OWN:
        models = [matched(OWN[small], schedule), matched(OWN[large], schedule)]
        for share in (0.25, 0.5, 0.75):
            errors = [error(schedule, models, n, round(share * n)) for n in (50, 100)]
            assert errors[1] < 0.03, (large, share)
            assert 1.5 < errors[0] / errors[1] < 2.5, (large, share, errors)  # the first order of DDIM


def test_a_solver_of_second_order_keeps_its_order() -> None:
    schedule = TRAJECTORIES["linear"]
    models = [matched(OWN["cosine v"], schedule), matched(OWN["flow"], schedule)]
    errors = [error(schedule, models, n, n // 2, "heun") for n in (25, 50, 100)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 2.6


def test_a_shared_index_does_not() -> None:
    schedule = TRAJECTORIES["linear"]
    shared = ConditionedDenoiser(GaussianModel(OWN["cosine eps"]), torch.zeros(NUM_IMAGES))
    own = matched(OWN["linear eps"], schedule)
    assert error(schedule, [shared, own], 100, 50) > 0.1
    assert error(schedule, [own, shared], 100, 50) > 0.1


def test_equal_signal_to_noise_has_the_published_timesteps() -> None:
    """Of Stable Diffusion's schedule in DiT's, computed independently."""
    known = {50: 65.2, 100: 100.5, 200: 162.9, 300: 224.3, 400: 287.5, 500: 353.4, 600: 422.3, 700: 494.1, 999: 726.9}
    for timestep, wanted in known.items():
        match = match_timestep(STABLE_DIFFUSION, linear_schedule(), timestep)
        assert match.timestep == pytest.approx(wanted, abs=0.06)
        assert match.factor == pytest.approx(1)
        assert not match.is_clamped


@pytest.mark.parametrize("name", OWN)
def test_a_timestep_and_its_match_are_one_state(name: str) -> None:
    trajectory, own = linear_schedule(), OWN[name].schedule
    for timestep in (30, 211, 500.5, 900):
        match = match_timestep(trajectory, own, timestep)
        (a, s), (own_a, own_s) = trajectory.scales(timestep), own.scales(match.timestep)
        assert own_a == pytest.approx(a * match.factor)
        assert own_s == pytest.approx(s * match.factor)
        assert not match.is_clamped


def test_a_schedule_that_ends_earlier_is_given_its_last_timestep() -> None:
    beyond = match_timestep(linear_schedule(), STABLE_DIFFUSION, 999)
    assert (beyond.timestep, beyond.is_clamped, beyond.factor) == (999, True, pytest.approx(1))
    assert match_timestep(linear_schedule(), VESchedule(1.0, 2.0), 0).timestep == 0
    assert match_timestep(linear_schedule(), VESchedule(1.0, 2.0), 999).timestep == 999


def test_one_schedule_is_matched_with_itself_exactly() -> None:
    schedule = linear_schedule()
    for timestep in (0, 1, 500, 999):
        match = match_timestep(schedule, schedule, timestep)
        assert (match.timestep, match.factor, match.is_clamped) == (pytest.approx(timestep, abs=1e-9), 1.0, False)


@pytest.mark.parametrize("prediction", ["eps", "v", "flow", "x0"])
def test_predictions_are_turned_and_turned_back(prediction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, eps = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    for schedule, timestep in ((cosine_schedule(), 400), (FlowSchedule(), 250.0), (VESchedule(0.01, 50), 800)):
        own = Convention(schedule, prediction)
        a, s = schedule.scales(timestep)
        state = a * clean + s * eps
        predicted = {"eps": eps, "v": a * eps - s * clean, "flow": eps - clean, "x0": clean}[prediction]
        assert torch.allclose(own.to_eps(predicted, state, timestep), eps)
        assert torch.allclose(own.to_clean(predicted, state, timestep), clean)
        assert torch.allclose(own.predict(eps, clean, timestep), predicted)


def test_guidance_stays_in_the_convention_of_its_model() -> None:
    """Guided velocities and guided eps are the same direction, so the scale means the same in both."""
    schedule, flow = linear_schedule(), Convention(FlowSchedule(), "flow")
    states, labels = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.tensor([1.0, 2.0])

    @dataclass(frozen=True)
    class Labelled:
        own: Convention

        def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
            a, s = self.own.schedule.scales(float(timestep.double()[0]))
            mean = condition.view(-1, 1, 1, 1)
            eps = s * (latents - a * mean) / (a**2 * DEVIATION**2 + s**2)
            return Prediction(eps if self.own.prediction == "eps" else eps - (latents - s * eps) / a)

    by_eps, by_flow = (
        MatchedDenoiser(GuidedDenoiser(Labelled(own), 2.5, None, torch.zeros_like).prepare(labels), own, schedule)
        for own in (Convention(schedule), flow)
    )
    assert torch.allclose(by_eps(states, 600).eps, by_flow(states, 600).eps, atol=1e-4)
    assert by_flow.evaluations_per_image == 2
