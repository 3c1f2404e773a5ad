"""How long a call of a stitched pipeline takes by its plan, before it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

import torch

from tstitch.adaptive import LatentChange
from tstitch.calibration import sharing
from tstitch.costs import Costs, fit_costs
from tstitch.dropin.stitch import find_stitched
from tstitch.dropin.stitched import StitchedDenoiser
from tstitch.errors import UserError

FEW, MANY, REPEATS = 2, 6, 3  # steps of the runs that are timed, and how often each is


@dataclass(frozen=True)
class ExpectedTime:
    """Milliseconds of a call, of one step of each denoiser in it, and of all else in it.

    `least` and `most` are those of the earliest and of no switch where the call decides as it runs, else the same.
    """

    least: float
    most: float
    of_step: tuple[float, ...]
    fixed: float


def expect_time(pipe: object, prompt: object, *, num_inference_steps: int, **call: object) -> ExpectedTime:
    """Say what a call will take by the shares as they are: of a calibration, a rule, or any other.

    Each denoiser is timed on this machine, alone with few steps; only the smallest one makes a whole call.

    Args:
        pipe: stitched.
        prompt: that stands for those to come.
        num_inference_steps: of the call.
        call: further arguments of the pipeline's call, such as `guidance_scale`.

    Raises:
        UserError: the pipeline is not stitched, or its denoisers cannot be timed.

    Example:
        >>> stitched = stitch(pipe, small, fraction=0.5)
        >>> expected = expect_time(pipe, "a cat", num_inference_steps=4)
        >>> math.isclose(expected.least, expected.fixed + 2 * sum(expected.of_step))
        True
    """
    _, stitched = find_stitched(pipe)
    check_can_be_timed(stitched)
    costs, timesteps = measure_costs(pipe, stitched, {**call, "prompt": prompt}, num_inference_steps)
    shares = stitched.shares
    allocations = [shares.allocate(timesteps, stitched.counter.schedule)]
    if isinstance(shares, LatentChange):  # that is its earliest switch
        allocations.append((allocations[0][0],) * len(timesteps))
    seconds = [costs.seconds(allocation) for allocation in allocations]
    of_step = tuple(1000 * each for each in costs.of_step)
    return ExpectedTime(1000 * min(seconds), 1000 * max(seconds), of_step, 1000 * costs.fixed)


def check_can_be_timed(stitched: StitchedDenoiser) -> None:
    """Raise `UserError` where the time of a step is not that of its denoiser alone."""
    if stitched.residency == "swap":
        raise UserError("residency='swap' cannot be timed: its networks move at each switch; use 'both'")


def measure_costs(
    pipe: object, stitched: StitchedDenoiser, call: Mapping[str, object], num_steps: int
) -> tuple[Costs, tuple[float, ...]]:
    """Time each denoiser alone, after a run that is not timed, over the steps that ran: a late start skips some.

    Returns:
        the costs, and the timesteps that run in a call with `num_steps`.
    """
    with _alone(stitched, 0):
        _seconds(pipe, num_steps, call)
    timesteps = stitched.trajectory.timesteps
    asked = [math.ceil(count * num_steps / len(timesteps)) for count in (FEW, MANY)]
    seconds, ran = [], []
    for model in range(len(stitched.denoisers)):
        with _alone(stitched, model):
            _seconds(pipe, asked[0], call)
            times = []
            for count in asked:
                times.append(median(_seconds(pipe, count, call) for _ in range(REPEATS)))
                ran.append(len(stitched.trajectory.timesteps))
        seconds.append(tuple(times))
    return fit_costs(*ran[:2], seconds), timesteps


def _alone(stitched: StitchedDenoiser, model: int) -> AbstractContextManager[None]:
    """A context in which one denoiser takes all steps."""
    return sharing(stitched, fractions=[float(index == model) for index in range(len(stitched.denoisers))])


def _seconds(pipe: object, num_steps: int, call: Mapping[str, object]) -> float:
    began = time.perf_counter()
    pipe(**{**call, "num_inference_steps": num_steps}, generator=torch.Generator().manual_seed(0))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
