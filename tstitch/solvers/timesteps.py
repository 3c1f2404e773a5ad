"""Timesteps as networks take them, read against the grid of their scheduler.

Networks of diffusion with alphas take the timestep t itself. Those of flow matching may take t, t / T, 1 - t / T or
T - t, where T is the number of training timesteps, or another function of t, which then is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tstitch.transfer import to_host

Values = tuple[float, ...]
SINGLE_PRECISION = torch.finfo(torch.float32).eps  # schedulers hold their timesteps in it


@dataclass(frozen=True)
class Form:
    """A timestep as a network takes it: `scale * t + offset`."""

    scale: float
    offset: float

    def of(self, t: float) -> float:
        """Return the timestep t in this form."""
        return self.scale * t + self.offset


@dataclass(frozen=True)
class Reading:
    """The values of a call's timestep, which may still be on their way from the device.

    Attributes:
        wait: gives one value, or the lowest and the highest.
        precision: the relative rounding error of a value; None for whole numbers.
        is_per_sample: the two values are of different samples of a batch, and not of tokens or frames.
        index: in the grid, where the timestep is a view of it.
    """

    wait: Callable[[], Values]
    precision: float | None
    is_per_sample: bool = False
    index: int | None = None

    def close(self, value: float, expected: float, magnitude: float = 0.0) -> bool:
        """Tell whether `value` is `expected` but for rounding, in a calculation with numbers of this magnitude."""
        if self.precision is None:
            return abs(value - expected) < 1
        return abs(value - expected) <= 1.5 * self.precision * max(abs(expected), magnitude) + 1e-12


def forms_of(scheduler: object) -> tuple[tuple[Form, ...], bool]:
    """Return the forms in which networks take the timesteps of a scheduler, and whether there may be others."""
    t = Form(1.0, 0.0)
    config = scheduler.config
    is_flow = config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction"
    if hasattr(scheduler, "alphas_cumprod") and not is_flow:
        return (t,), False
    total = config.get("num_train_timesteps") or 1000
    return (t, Form(1 / total, 0.0), Form(-1 / total, 1.0), Form(-1.0, total)), True


def read_timestep(timestep: Tensor | float, grid: Tensor, values: Values) -> Reading:
    """Start reading a timestep. It waits for a device only where the timestep is there and no view of the grid.

    Args:
        timestep: a number, or a tensor of any shape and dtype.
        grid: `scheduler.timesteps`, (num_calls,).
        values: the same on the host.
    """
    if not isinstance(timestep, Tensor):
        value = float(timestep)
        return Reading(lambda: (value,), None if isinstance(timestep, int) else SINGLE_PRECISION)
    precision = max(torch.finfo(timestep.dtype).eps, SINGLE_PRECISION) if timestep.is_floating_point() else None
    if (index := index_in(timestep, grid)) is not None:
        return Reading(lambda: (values[index],), precision, index=index)
    wait = to_host(*torch.aminmax(timestep.detach()))

    def bounds() -> Values:
        lowest, highest = (float(value) for value in wait())
        return (lowest,) if lowest == highest else (lowest, highest)

    return Reading(bounds, precision, timestep.dim() == 1)


def index_in(timestep: Tensor, grid: Tensor) -> int | None:
    """Return the index of a timestep that is a view of one element of the grid, as where pipelines iterate it."""
    is_one_element = timestep.numel() == 1 or not any(timestep.stride())
    if not is_one_element or timestep.dtype != grid.dtype or not grid.is_contiguous():
        return None
    if timestep.untyped_storage().data_ptr() != grid.untyped_storage().data_ptr():
        return None
    index = timestep.storage_offset() - grid.storage_offset()
    return index if 0 <= index < len(grid) else None


def matches(form: Form, reading: Reading, values: Values, t: float) -> bool:
    """Tell whether one of the values is the timestep t in this form."""
    if reading.precision is None and abs(form.scale) != 1:
        return False
    return any(reading.close(value, form.of(t), abs(form.offset)) for value in values)


def find_start(
    reading: Reading, grid: Sequence[float], forms: Sequence[Form], num_calls: int | None, order: int = 1
) -> int:
    """Return the index in the grid of the first call of a run, by its timestep; 0 where the grid does not have it.

    Args:
        reading: of the first timestep.
        grid: the timesteps of all calls that the scheduler has; one may be there more than once.
        forms: in which the network may take a timestep, the likelier first.
        num_calls: of the run, None where the pipeline does not tell it.
        order: calls of a solver step; a run does not begin within one.
    """
    if reading.index is not None:
        return reading.index
    values = reading.wait()
    if any(matches(form, reading, values, grid[0]) for form in forms):
        return 0  # a network that takes t / T is given 1 there, which is a timestep too
    for form in forms:
        starts = [index for index, t in enumerate(grid) if matches(form, reading, values, t)]
        starts = [index for index in starts if index + (num_calls or 1) <= len(grid)]
        if starts:
            to_the_end = len(grid) - (num_calls or len(grid))
            return (
                to_the_end if to_the_end in starts else next((each for each in starts if each % order == 0), starts[0])
            )
    return 0
