"""Calibration of a stitched pipeline: at the large denoiser's latents, with the pipeline's own guidance."""

import copy

import pytest
import torch

from tests.pipelines.families import FAMILIES, NUM_STEPS, PROMPT, run, set_scheduler
from tstitch import calibrate, stitch
from tstitch.calibration import Calibration, _RecordedStep, _Recorder
from tstitch.errors import UserError


def calibrated(name: str, pipe: object) -> Calibration:
    call = {key: value for key, value in FAMILIES[name].call.items() if key not in ("generator", "num_inference_steps")}
    prompts = None if name == "dit" else [call.pop("prompt", PROMPT)]
    num_steps = FAMILIES[name].call.get("num_inference_steps", NUM_STEPS)
    return calibrate(pipe, prompts, num_inference_steps=num_steps, **call)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_small_one_takes_the_steps_of_least_disagreement_and_the_pipeline_is_left_as_it_was(name: str) -> None:
    family = FAMILIES[name]
    pipe, small = family.build(), family.denoiser("small")
    stitched = stitch(pipe, small, fraction=0.4)
    before, step = run(family, pipe), pipe.scheduler.step
    calibration = calibrated(name, pipe)
    assert len(calibration.disagreement) == len(calibration.timesteps) > 0
    assert all(value > 1e-4 for value in calibration.disagreement)
    assert pipe.scheduler.step == step
    assert torch.equal(run(family, pipe), before), "its shares are as they were"
    allocation = calibration.allocation(0.4)
    chosen = {index for index, model in enumerate(allocation) if model == 0}
    others = set(range(len(allocation))) - chosen
    most = max(calibration.disagreement[index] for index in chosen)
    assert all(calibration.disagreement[index] >= most for index in others)
    stitched.allocate(allocation=allocation)
    assert run(family, pipe).isfinite().all()
    assert stitched.allocation == allocation


def test_it_is_the_guided_difference_at_the_large_ones_latents() -> None:
    """Stable Diffusion with DDIM, its guidance written out here, at the latents of a plain run."""
    family = FAMILIES["sd"]
    pipe, small = family.build(), family.denoiser("small")
    large, scale = pipe.unet, 3.0
    inputs: list[tuple] = []
    hook = large.register_forward_pre_hook(lambda _, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True)
    call = {"num_inference_steps": NUM_STEPS, "guidance_scale": scale, "output_type": "latent"}
    pipe(PROMPT, **call, generator=torch.Generator().manual_seed(3))
    hook.remove()

    def guided(network: torch.nn.Module, args: tuple, kwargs: dict) -> torch.Tensor:
        with torch.no_grad():
            output = network(*args, **kwargs)
        unconditional, conditional = output[0].chunk(2)
        return unconditional + scale * (conditional - unconditional)

    wanted = []
    for args, kwargs in inputs:
        own, target = (guided(network, args, dict(kwargs)) for network in (small, large))
        wanted.append(float((own - target).norm() / target.norm()))
    stitch(pipe, small, fraction=0)
    calibration = calibrate(pipe, [PROMPT], num_inference_steps=NUM_STEPS, guidance_scale=scale, seeds=[3])
    assert calibration.disagreement == pytest.approx(wanted, rel=1e-5)


def test_a_denoiser_agrees_with_itself() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("large"), fraction=0)
    assert calibrate(pipe, [PROMPT], num_inference_steps=3).disagreement == (0, 0, 0)


def test_it_is_the_mean_over_prompts_and_seeds() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0)

    def measured(prompts: list[str], seeds: list[int]) -> torch.Tensor:
        calibration = calibrate(pipe, prompts, num_inference_steps=3, seeds=seeds)
        return torch.tensor(calibration.disagreement)

    each = [measured([prompt], [seed]) for prompt in ("a cat", "a hat") for seed in (0, 5)]
    torch.testing.assert_close(measured(["a cat", "a hat"], [0, 5]), torch.stack(each).mean(dim=0))


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "HeunDiscreteScheduler"])
def test_a_step_of_several_calls_is_one_of_the_calibration(scheduler: str) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    set_scheduler(pipe, scheduler)
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.5)
    calibration = calibrate(pipe, [PROMPT], num_inference_steps=NUM_STEPS)
    assert len(calibration.disagreement) == len(stitched.plan(NUM_STEPS)) == NUM_STEPS


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "HeunDiscreteScheduler"])
def test_a_scheduler_that_came_after_stitch_is_still_heard_afterwards(scheduler: str) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    set_scheduler(pipe, scheduler)
    calibration = calibrate(pipe, [PROMPT], num_inference_steps=NUM_STEPS)
    stitched.allocate(allocation=calibration.allocation(0.4))
    pipe(PROMPT, num_inference_steps=NUM_STEPS)
    assert stitched.allocation == calibration.allocation(0.4)


def test_mistakes_are_named() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    with pytest.raises(UserError, match="is not stitched"):
        calibrate(pipe, ["a cat"], num_inference_steps=2)
    stitch(pipe, family.denoiser("small"), family.denoiser("medium"), fractions=[0.2, 0.2, 0.6])
    with pytest.raises(UserError, match="calibrate is for two denoisers, this pipeline has 3"):
        calibrate(pipe, ["a cat"], num_inference_steps=2)
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0)
    for prompts, seeds in (("a cat", [0]), ([], [0]), (["a cat"], []), (["a cat"], 3), (["a cat"], [0.5])):
        with pytest.raises(UserError, match="needs a list of prompts and of seeds"):
            calibrate(pipe, prompts, num_inference_steps=2, seeds=seeds)
    with pytest.raises(UserError, match="needs a whole number of steps of 1 or more, got 2"):
        calibrate(pipe, ["a cat"], num_inference_steps=2.5)
    calibration = calibrate(pipe, ["a cat"], num_inference_steps=2)
    with pytest.raises(UserError, match=r"fraction must lie in \[0, 1\], got 2"):
        calibration.allocation(2)


def test_a_scheduler_that_draws_noise_is_calibrated_on_its_own_trajectories() -> None:
    """Pipelines pass eta and their generator where the signature of `scheduler.step` has them."""
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0)
    plain, noisy, again = (
        calibrate(pipe, ["a cat"], num_inference_steps=4, seeds=[0], eta=eta).disagreement for eta in (0.0, 1.0, 1.0)
    )
    assert noisy == again != plain
    set_scheduler(pipe, "EulerAncestralDiscreteScheduler")
    first, second = (calibrate(pipe, ["a cat"], num_inference_steps=4, seeds=[0]).disagreement for _ in range(2))
    assert first == second


def test_a_copy_of_the_scheduler_has_a_step_of_its_own() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0)
    step = _RecordedStep(pipe.scheduler.step, _Recorder([], []), None)
    pipe.scheduler.step = step
    copied = copy.deepcopy(pipe.scheduler)
    assert not isinstance(vars(copied).get("step"), _RecordedStep)
    assert copied.step.__self__ is copied
