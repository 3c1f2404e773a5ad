"""Every family of pipelines, stitched, against plain runs and against a run that is switched by hand."""

from collections.abc import Iterable, Iterator

import pytest
import torch

from tests.pipelines.families import FAMILIES, Family, run, set_scheduler
from tstitch import stitch, unstitch

CASES = [(name, scheduler) for name, family in FAMILIES.items() for scheduler in family.schedulers]
# Two solver steps in calls of the network's iteration: PNDM takes two for its first step, Heun two for each.
CALLS_OF_TWO_STEPS = {"PNDMScheduler": 3, "HeunDiscreteScheduler": 4, "FlowMatchHeunDiscreteScheduler": 4}


def switched_by_hand(family: Family, pipe: object, small: object, num_calls: int) -> torch.Tensor:
    """A run in which the small denoiser is replaced by the large one after `num_calls` turns of the pipeline's loop."""
    large = getattr(pipe, family.attribute)
    plain_progress_bar = pipe.progress_bar

    def turns(iterable: Iterable | None = None, total: int | None = None) -> Iterator:
        """DiT's pipeline has no callback, but it walks its timesteps through this."""
        for index, timestep in enumerate(iterable):
            if index == num_calls:
                setattr(pipe, family.attribute, large)
            yield timestep

    def after(_: object, index: int, timestep: object, tensors: dict) -> dict:
        if index + 1 == num_calls:
            setattr(pipe, family.attribute, large)
        return tensors

    setattr(pipe, family.attribute, small)
    if family is FAMILIES["dit"]:
        pipe.progress_bar = turns
        result = run(family, pipe)
        pipe.progress_bar = plain_progress_bar
    elif family is FAMILIES["pixart"]:
        order = pipe.scheduler.order
        # This older callback comes once per solver step, but not for the first of PNDM's two calls.
        result = run(
            family, pipe, callback=lambda index, t, x: after(None, order * (index + 1) - 1, t, {}), callback_steps=1
        )
    else:
        result = run(family, pipe, callback_on_step_end=after)
    assert getattr(pipe, family.attribute) is large
    return result


@pytest.mark.parametrize(("name", "scheduler"), CASES)
def test_the_ends_are_the_plain_pipelines_bit_for_bit(name: str, scheduler: str) -> None:
    family = FAMILIES[name]
    pipe, small = family.build(), family.denoiser("small")
    large = getattr(pipe, family.attribute)
    set_scheduler(pipe, scheduler)
    plain_large = run(family, pipe)
    setattr(pipe, family.attribute, small)
    plain_small = run(family, pipe)
    setattr(pipe, family.attribute, large)
    stitched = stitch(pipe, small, fraction=0)
    assert torch.equal(run(family, pipe), plain_large)
    stitched.allocate(fraction=1)
    assert torch.equal(run(family, pipe), plain_small)
    assert not torch.equal(plain_small, plain_large)
    unstitch(pipe)
    assert getattr(pipe, family.attribute) is large
    assert torch.equal(run(family, pipe), plain_large)


@pytest.mark.parametrize(("name", "scheduler"), CASES)
def test_forty_percent_is_a_run_switched_by_hand(name: str, scheduler: str) -> None:
    family = FAMILIES[name]
    pipe, small = family.build(), family.denoiser("small")
    set_scheduler(pipe, scheduler)
    by_hand = switched_by_hand(family, pipe, small, CALLS_OF_TWO_STEPS.get(scheduler, 2))
    stitched = stitch(pipe, small, fraction=0.4)
    assert torch.equal(run(family, pipe), by_hand)
    assert stitched.allocation.count(0) == 2
    stitched.allocate(fraction=0.2)
    assert not torch.equal(run(family, pipe), by_hand)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sd", "sd3", "flux", "wan"])
def test_the_comparison_does_not_wait_for_the_gpu_at_each_step(name: str) -> None:
    """Timesteps of the grid are never fetched; others at the first two timesteps and the last call."""
    family = FAMILIES[name]
    pipe = family.build().to("cuda")
    stitch(pipe, family.denoiser("small"), fraction=0.4)
    run(family, pipe, num_inference_steps=10)
    assert "steps ran" not in getattr(pipe, family.attribute).describe()
