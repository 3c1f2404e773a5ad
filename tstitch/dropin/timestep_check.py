"""A check that a network is called with the timestep of the counted solver step.

Networks of diffusion with alphas take the timestep t itself. Those of flow matching may take t, t / T, 1 - t / T or
T - t, where T is the number of training timesteps, or another function of t, which then is not known here: it must
differ between timesteps and be the same at one. Where only some tokens or frames are noisy the others have a timestep
of their own, so of a timestep with a dimension beside the batch the lowest or the highest value counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tstitch.errors import UserError
from tstitch.transfer import to_host

Values = tuple[float, ...]
SINGLE_PRECISION = torch.finfo(torch.float32).eps  # schedulers hold their timesteps in it
NUM_CHECKED_AT_ONCE = 2  # timesteps of a run; later ones wait for the next call, so that the host runs ahead of a GPU


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
    """

    wait: Callable[[], Values]
    precision: float | None
    is_per_sample: bool = False

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
    if (index := _index_in(timestep, grid)) is not None:
        return Reading(lambda: (values[index],), precision)
    wait = to_host(*torch.aminmax(timestep.detach()))

    def bounds() -> Values:
        lowest, highest = (float(value) for value in wait())
        return (lowest,) if lowest == highest else (lowest, highest)

    return Reading(bounds, precision, timestep.dim() == 1)


def _index_in(timestep: Tensor, grid: Tensor) -> int | None:
    """Return the index of a timestep that is a view of one element of the grid, as where pipelines iterate it."""
    is_one_element = timestep.numel() == 1 or not any(timestep.stride())
    if not is_one_element or timestep.dtype != grid.dtype or not grid.is_contiguous():
        return None
    if timestep.untyped_storage().data_ptr() != grid.untyped_storage().data_ptr():
        return None
    index = timestep.storage_offset() - grid.storage_offset()
    return index if 0 <= index < len(grid) else None


@dataclass
class TimestepCheck:
    """The comparison of each call of one run with the timestep that is expected of it.

    Attributes:
        grid: the timesteps of all calls that the scheduler has.
        forms: those of `forms_of` that agree with all calls so far.
        may_differ: the network may take another function of the timestep.
    """

    grid: tuple[float, ...]
    forms: tuple[Form, ...]
    may_differ: bool
    _checked: dict[float, Values] = field(default_factory=dict)  # expected timestep -> what came
    _pending: tuple[Reading, float, int] | None = None

    def call(self, reading: Reading, expected: float, num_steps: int, is_last: bool) -> None:
        """Compare a call.

        Args:
            reading: its timestep.
            expected: the timestep of the counted solver step.
            num_steps: how often the scheduler was stepped in this run.
            is_last: no later call will complete the comparison, so it is not put off.

        Raises:
            UserError: this call, or one that was put off, has another timestep.
        """
        self.complete()
        self._pending = (reading, expected, num_steps)
        if is_last or len(self._checked) < NUM_CHECKED_AT_ONCE or reading.is_per_sample:
            self.complete()

    def complete(self) -> None:
        """Make the comparison that was put off, if any."""
        if self._pending is None:
            return
        (reading, expected, num_steps), self._pending = self._pending, None
        values = reading.wait()
        if not self._agrees(reading, values, expected):
            came = " to ".join(f"{value:g}" for value in values)
            raise UserError(
                f"the denoiser was called with timestep {came}, but {expected:g} was expected after {num_steps} calls "
                "of pipe.scheduler.step: the pipeline steps a copy of its scheduler, or steps it other than once for "
                "each timestep, so its solver steps cannot be counted; unstitch it and run it alone, or in a loop of "
                "your own call set_timesteps before and step after each prediction"
            )

    def _agrees(self, reading: Reading, values: Values, expected: float) -> bool:
        if (len(values) > 1 and reading.is_per_sample) or not self._is_a_function(reading, values, expected):
            return False
        is_known, earlier = bool(self.forms), self.forms
        self.forms = tuple(each for each in self.forms if matches(each, reading, values, expected))
        if is_known and not self.forms and not self._may_be_another_function(reading, values, earlier):
            return False
        self._checked[expected] = values
        return True

    def _may_be_another_function(self, reading: Reading, values: Values, forms: tuple[Form, ...]) -> bool:
        """Tell whether forms that agreed at the first timestep did so by chance (f(1000) = 1 for many functions)."""
        is_of_another_step = any(matches(form, reading, values, t) for form in forms for t in self.grid)
        return self.may_differ and len(self._checked) <= 1 and not is_of_another_step

    def _is_a_function(self, reading: Reading, values: Values, expected: float) -> bool:
        """Tell whether equal timesteps gave equal values so far, and others others."""
        precision = reading.precision or 0.0
        for earlier, results in self._checked.items():
            is_same = len(values) == len(results) and all(map(reading.close, values, results))
            is_far = abs(earlier - expected) > 4 * precision * max(abs(earlier), abs(expected))
            if (earlier == expected and not is_same) or (is_far and values == results):
                return False
        return True


def matches(form: Form, reading: Reading, values: Values, t: float) -> bool:
    """Tell whether one of the values is the timestep t in this form."""
    if reading.precision is None and abs(form.scale) != 1:
        return False
    return any(reading.close(value, form.of(t), abs(form.offset)) for value in values)
