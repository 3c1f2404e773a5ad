"""Which solver step each turn of a pipeline's loop belongs to, for every kind of scheduler."""

import diffusers
import pytest

from tests.pipelines.families import FAMILIES, NUM_STEPS, run, set_scheduler
from tstitch import stitch
from tstitch.solvers.scheduler_steps import make_trajectory

STEPS_OF_CALLS = {
    "DDIMScheduler": (0, 1, 2, 3, 4),
    "PNDMScheduler": (0, 0, 1, 2, 3, 4),
    "EulerDiscreteScheduler": (0, 1, 2, 3, 4),
    "DPMSolverMultistepScheduler": (0, 1, 2, 3, 4),
    "HeunDiscreteScheduler": (0, 0, 1, 1, 2, 2, 3, 3, 4),
    "UniPCMultistepScheduler": (0, 1, 2, 3, 4),
    "LCMScheduler": (0, 1, 2, 3, 4),
    "FlowMatchEulerDiscreteScheduler": (0, 1, 2, 3, 4),
    "FlowMatchHeunDiscreteScheduler": (0, 0, 1, 1, 2, 2, 3, 3, 4),
}


@pytest.mark.parametrize("name", STEPS_OF_CALLS)
def test_calls_belong_to_solver_steps(name: str) -> None:
    scheduler = getattr(diffusers, name)(**({"skip_prk_steps": True} if name == "PNDMScheduler" else {}))
    scheduler.set_timesteps(NUM_STEPS)
    trajectory = make_trajectory(scheduler)
    assert trajectory.step_of_call == STEPS_OF_CALLS[name]
    assert len(trajectory.step_of_call) == len(scheduler.timesteps)
    assert len(trajectory.timesteps) == NUM_STEPS
    assert sorted(trajectory.timesteps, reverse=True) == list(trajectory.timesteps)


def test_fifty_pndm_steps_are_fifty_one_calls() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(50)
    trajectory = make_trajectory(scheduler)
    assert len(trajectory.step_of_call) == 51
    assert len(trajectory.timesteps) == 50


def test_runge_kutta_starts_of_pndm_are_three_steps_of_four_calls() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=False)
    scheduler.set_timesteps(10)
    trajectory = make_trajectory(scheduler)
    assert trajectory.step_of_call[:13] == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3)
    assert len(trajectory.timesteps) == 10


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"])
def test_image_to_image_shares_out_the_steps_that_it_runs(scheduler: str) -> None:
    family = FAMILIES["sd_img2img"]
    pipe = family.build()
    set_scheduler(pipe, scheduler)
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.5)
    run(family, pipe, strength=0.5, num_inference_steps=8)
    assert stitched.allocation == (0, 0, 1, 1)


def test_a_run_that_ends_early_shares_out_what_it_runs() -> None:
    """SDXL's `denoising_end` leaves the last steps to a refiner."""
    family = FAMILIES["sdxl"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.5)
    run(family, pipe, num_inference_steps=10, denoising_end=0.6)
    assert stitched.allocation == (0, 0, 0, 1, 1, 1)
    run(family, pipe, num_inference_steps=10)
    assert stitched.allocation == (0,) * 5 + (1,) * 5


def test_a_scheduler_given_after_stitch_is_heard() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    first = pipe.scheduler
    run(family, pipe)
    for name in ("HeunDiscreteScheduler", "PNDMScheduler"):
        set_scheduler(pipe, name)
        run(family, pipe)
        assert stitched.allocation == (0, 0, 1, 1, 1)
    assert "step" not in vars(first)


def test_two_calls_in_a_solver_step_go_to_one_denoiser() -> None:
    """Wan predicts with and without the prompt in two calls."""
    family = FAMILIES["wan"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    calls = []
    for index, denoiser in enumerate(stitched.denoisers):
        denoiser.register_forward_hook(lambda *_, index=index: calls.append(index))
    run(family, pipe)
    assert calls == [0] * 4 + [1] * 6
