"""The latent-change rule in a pipeline's call: where it switches, against the rule written out, in every family."""

import math

import pytest
import torch

from tests.pipelines.families import FAMILIES, NUM_STEPS, PROMPT, run, set_scheduler
from tstitch import LatentChange, stitch
from tstitch.errors import UserError
from tstitch.solvers.steps import Step


@pytest.mark.parametrize("name", FAMILIES)
def test_an_infinite_delta_is_the_allocation_of_its_first_steps(name: str) -> None:
    family = FAMILIES[name]
    pipe, small = family.build(), family.denoiser("small")
    stitched = stitch(pipe, small, rule=LatentChange(delta=math.inf, min_steps=2))
    made = run(family, pipe)
    assert list(stitched.allocation) == [1, 1] + [0] * (len(stitched.allocation) - 2)
    stitched.allocate(allocation=list(stitched.allocation))
    assert torch.equal(run(family, pipe), made)


def test_the_plan_is_the_earliest_switch() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), rule=LatentChange(delta=0.1, min_steps=3))
    assert [step.model for step in stitched.plan(NUM_STEPS)] == [1, 1, 1, 0, 0]
    assert "latent change: [0.1, 3, 'large_to_small']" in repr(stitched)


def test_changes_that_shrink_never_switch() -> None:
    """As those of these networks do: D falls from step to step, with DDIM at any start noise."""
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), rule=LatentChange(delta=0.1))
    pipe(PROMPT, num_inference_steps=NUM_STEPS, generator=torch.Generator().manual_seed(3))
    assert stitched.allocation == (1,) * NUM_STEPS


@pytest.mark.parametrize(("order", "first", "then"), [("large_to_small", 1, 0), ("small_to_large", 0, 1)])
@pytest.mark.parametrize("min_steps", [2, 5])
@pytest.mark.parametrize("delta", [0.01, 0.03, 0.1, 1.0])
def test_it_switches_where_the_rule_says(order: str, first: int, then: int, min_steps: int, delta: float) -> None:
    """Latents whose relative changes are given, and the formula written out."""
    changes = [0.5, 0.3, 0.35, 0.36, 0.3, 0.32, 0.321, 0.2]
    latents = [torch.ones(2, 4, 8, 8)]
    for change in changes:
        latents.append(latents[-1] * (1 + change))
    steps = [Step(index, 100 - index, None, math.nan, math.nan) for index in range(len(latents))]
    route = LatentChange(delta, min_steps, order).start((), steps)
    taken: list[int] = []
    for step, own in zip(steps, latents, strict=True):
        for _ in range(2):  # a solver may ask twice in a step
            predict = route(step, own, lambda model, latents, timestep: model)
        taken.append(predict(own, step.timestep))
    tanh = [math.tanh(change) for change in changes]
    growth = {step: tanh[step - 1] - tanh[step - 2] for step in range(2, len(steps))}
    switch = next((k for k in range(min_steps, len(steps)) if 0 < growth[k] < delta), len(steps))
    assert taken == [first] * switch + [then] * (len(steps) - switch)
    assert switch < len(steps)


def test_a_step_of_two_calls_is_decided_once() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    set_scheduler(pipe, "HeunDiscreteScheduler")
    stitched = stitch(pipe, family.denoiser("small"), rule=LatentChange(delta=math.inf, min_steps=3))
    pipe(PROMPT, num_inference_steps=NUM_STEPS)
    assert stitched.allocation == (1, 1, 1, 0, 0)


def test_sums_of_large_latents_in_fp16_do_not_overflow() -> None:
    latents = [torch.full((2, 4, 128, 128), 2.0, dtype=torch.float16) * factor for factor in (1, 1.5, 1.8, 2.2)]
    steps = [Step(index, 9 - index, None, math.nan, math.nan) for index in range(4)]
    route = LatentChange(0.5).start((), steps)
    taken = [route(step, own, lambda model, *_: model)(own, 0) for step, own in zip(steps, latents, strict=True)]
    assert taken == [1, 1, 1, 0], "0.5, 0.2, 0.22: the second change is smaller, the third a little larger"


def test_a_run_that_is_too_short_for_the_other_denoiser_is_warned_of() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), rule=LatentChange(0.1, min_steps=9))
    with pytest.warns(UserWarning, match="min_steps=9 leaves one denoiser all 5 steps"):
        run(family, pipe)


def test_mistakes_are_named() -> None:
    family = FAMILIES["sd"]
    pipe, small = family.build(), family.denoiser("small")
    values = ({"delta": 0}, {"delta": math.nan}, {"delta": 1, "min_steps": 1}, {"delta": 1, "order": "sideways"})
    for wrong in (*values, {"delta": "0.1"}, {"delta": 0.1, "min_steps": 2.5}):
        with pytest.raises(UserError, match="LatentChange needs a delta above 0, min_steps of 2 or more"):
            LatentChange(**wrong)
    with pytest.raises(UserError, match=r"rule is a LatentChange for two denoisers, alone, .* with fraction"):
        stitch(pipe, small, rule=LatentChange(0.1), fraction=0.4)
    with pytest.raises(UserError, match="rule is a LatentChange for two denoisers, alone, got 'steps'"):
        stitch(pipe, small, rule="steps")
    with pytest.raises(UserError, match="for 3 denoisers"):
        stitch(pipe, small, family.denoiser("medium"), rule=LatentChange(0.1))
