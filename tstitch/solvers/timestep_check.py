"""A check that a network is called with the timestep of the counted solver step.

Another function of the timestep than the known forms must differ between timesteps and be the same at one. Where only
some tokens or frames are noisy the others have a timestep of their own, so of a timestep with a dimension beside the
batch the lowest or the highest value counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field

from tstitch.errors import UserError
from tstitch.solvers.timesteps import Form, Reading, Values, matches

OUTSIDE = (
    "the stitched denoiser was called outside a run of the scheduler of its pipeline; stitch the pipeline that calls "
    "it, or in a loop of your own call pipe.scheduler.set_timesteps first"
)
INPUTS = ("timestep", "timesteps", "t")  # of a network
NUM_CHECKED_AT_ONCE = 2  # timesteps of a run; later ones wait for the next call, so that the host runs ahead of a GPU


@dataclass
class TimestepCheck:
    """The comparison of each call of one run with the timestep that is expected of it.

    Attributes:
        grid: the timesteps of all calls that the scheduler has.
        forms: those of `forms_of` that agree with all calls so far.
        may_differ: the network may take another function of the timestep.
        follows: the count was once led by the network's timestep, so no comparison is put off any more.
        may_jump: the scheduler was replaced in the middle, so the next call may be of any step.
    """

    grid: tuple[float, ...]
    forms: tuple[Form, ...]
    may_differ: bool
    follows: bool = False
    may_jump: bool = False
    _checked: dict[float, Values] = field(default_factory=dict)  # expected timestep -> what came
    _pending: tuple[Reading, Sequence[float], int] | None = None

    def call(self, reading: Reading, expected: Sequence[float], counted: int) -> int:
        """Compare a call, and return its index among the calls of the run.

        It is the counted one, or the one before it or after it where the timestep says so: a pipeline may step its
        scheduler for each part of a batch, or step a copy of it.

        Args:
            reading: its timestep.
            expected: the timestep of each call of the run.
            counted: the index after the steps that the scheduler was heard to take.

        Raises:
            UserError: this call, or one that was put off, has another timestep.
        """
        self.complete()
        self._pending = (reading, expected, counted)
        is_new = len(self._checked) < NUM_CHECKED_AT_ONCE or reading.is_per_sample
        is_now = is_new or self.follows or counted >= len(expected) - 1
        return self.complete(is_now) if is_now else counted

    def complete(self, may_follow: bool = False) -> int:
        """Make the comparison that was put off, if any, and return the index of its call.

        Args:
            may_follow: the call has not been made yet, so it may be another than the counted one.
        """
        if self._pending is None:
            return 0
        (reading, expected, counted), self._pending = self._pending, None
        values, indices = reading.wait(), [counted]
        if may_follow and self.forms:
            indices += [counted - 1, counted + 1, *(range(len(expected)) if self.may_jump else ())]
        for index in (index for index in indices if 0 <= index < len(expected)):
            if self._agrees(reading, values, expected[index]):
                self.follows, self.may_jump = self.follows or index != counted, False
                return index
        if counted >= len(expected):
            calls = f"{len(expected)} of {len(self.grid)} calls of its scheduler"
            raise UserError(f"{OUTSIDE}; the run of {calls} that the pipeline announced has ended")
        came, counted = " to ".join(f"{value:g}" for value in values), max(counted, 0)
        raise UserError(
            f"the denoiser was called with timestep {came}, but {expected[counted]:g} was expected after {counted} "
            "calls of pipe.scheduler.step: the pipeline steps a copy of its scheduler, or predicts several steps at "
            "once, so its solver steps cannot be counted; unstitch it and run it alone, or in a loop of your own call "
            "set_timesteps before and step after each prediction"
        )

    def _agrees(self, reading: Reading, values: Values, expected: float) -> bool:
        if (len(values) > 1 and reading.is_per_sample) or not self._is_a_function(reading, values, expected):
            return False
        forms = tuple(
            each for each in self.forms
            if matches(each, reading, values, expected) and not self._are_of_several_steps(each, reading, values)
        )  # fmt: skip
        if self.forms and not forms and not self._may_be_another_function(reading, values, self.forms):
            return False
        self.forms, self._checked[expected] = forms, values
        return True

    def _are_of_several_steps(self, form: Form, reading: Reading, values: Values) -> bool:
        """Tell whether frames are at several noise levels of the run; those that are clean (t = 0) do not count."""
        noisy = [t for t in self.grid if t > 0]
        steps = [{t for t in noisy if matches(form, reading, (each,), t)} for each in values]
        return len(steps) > 1 and all(steps) and not set.intersection(*steps)

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


def timestep_input(denoiser: object) -> tuple[str, int]:
    """Return the name and the position, self not counted, of the timestep among the arguments of a denoiser's class."""
    names = list(inspect.signature(type(getattr(denoiser, "_orig_mod", denoiser)).forward).parameters)[1:]
    name = next((each for each in INPUTS if each in names), INPUTS[0])
    return name, names.index(name) if name in names else len(names)
