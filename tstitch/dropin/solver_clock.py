"""Which solver step a pipeline is at, heard from its scheduler.

A pipeline may call its network more than once in a solver step, and a scheduler may spend several timesteps on one.
What they all do is call `set_timesteps` before a run and `step` after each prediction.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan

from torch import Tensor

from tstitch.dropin.announced import announce
from tstitch.dropin.timestep_check import Form, Reading, TimestepCheck, forms_of, matches, read_timestep
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.steps import Step


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The timestep of each solver step of a run, and solver step and timestep of each call of `scheduler.step`."""

    timesteps: tuple[float, ...]
    step_of_call: tuple[int, ...]
    timestep_of_call: tuple[float, ...]

    @cached_property
    def steps(self) -> list[Step]:
        """The solver steps for a router; only the scheduler knows its noise levels, so theirs are NaN."""
        following = [*self.timesteps[1:], None]
        return [Step(index, t, following[index], nan, nan) for index, t in enumerate(self.timesteps)]


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has begun, with `scheduler.timesteps` (num_calls,) as it was then."""

    trajectory: Trajectory
    grid: Tensor
    check: TimestepCheck


def make_trajectory(scheduler: object, start: int = 0, num_calls: int | None = None) -> Trajectory:
    """Make the run of `num_calls` (None: all) of `scheduler.timesteps` from index `start` (image to image: late)."""
    grid = scheduler.timesteps[start:].tolist()[:num_calls]
    steps = tuple(_step_of_call(scheduler, start, call) for call in range(len(grid)))
    return Trajectory(tuple(grid[steps.index(step)] for step in sorted(set(steps))), steps, tuple(grid))


def _step_of_call(scheduler: object, start: int, call: int) -> int:
    if not hasattr(scheduler, "prk_timesteps"):
        return (start + call) // scheduler.order - start // scheduler.order  # Heun and its kin: two calls a step
    if scheduler.config.skip_prk_steps:
        return max(call - 1, 0)  # PNDM: the first step is an improved Euler step of two calls
    num_runge_kutta = len(scheduler.prk_timesteps)
    return call // 4 if call < num_runge_kutta else num_runge_kutta // 4 + call - num_runge_kutta


class SolverClock:
    """Counter of the solver steps of a pipeline, whatever scheduler it has at the time.

    Several clocks may listen to one scheduler. Each call of the network is compared with the count by its timestep.
    """

    def __init__(self, pipe: object):
        self._pipe = weakref.ref(pipe)  # the pipeline owns the network that owns this clock
        self._scheduler, self._releases = None, []
        self._run, self._calls = None, 0

    @property
    def pipe(self) -> object | None:
        """The pipeline, or None where it is gone."""
        return self._pipe()

    @property
    def schedule(self) -> NoiseSchedule | None:
        """The noise schedule of the scheduler; None for flow matching, which has none in alphas."""
        alphas_cumprod = getattr(self._scheduler, "alphas_cumprod", None)
        return None if alphas_cumprod is None else NoiseSchedule(alphas_cumprod.double().cpu().numpy())

    def watch(self) -> None:
        """Listen to the scheduler that the pipeline has now."""
        scheduler = getattr(self.pipe, "scheduler", None)
        if scheduler is not None and (scheduler is not self._scheduler or "step" not in vars(scheduler)):
            self.release()
            self._scheduler, self._run, self._calls = scheduler, None, 0
            listeners = {"set_timesteps": self._begin, "step": self._advance}
            self._releases = [announce(scheduler, name, listener) for name, listener in listeners.items()]

    def release(self) -> None:
        """Listen no more; the last clock to do so leaves the scheduler as it was."""
        for release in self._releases:
            release()
        self._scheduler, self._releases = None, []

    def now(self, timestep: Tensor | float | None) -> tuple[Trajectory, int]:
        """Return the run and its solver step, when the network is called.

        Args:
            timestep: that the network is called with; None where its class takes none, which is then not compared.

        Raises:
            UserError: the scheduler is in no run, or its count does not lead to this timestep.
        """
        self.watch()
        if self._run is None and getattr(self._scheduler, "num_inference_steps", None) is not None:
            self._run = self._start(timestep)
        if self._run is None or self._calls >= len(self._run.trajectory.step_of_call):
            raise UserError(
                "the stitched denoiser was called outside a run of the scheduler of its pipeline; stitch the pipeline "
                "that calls it, or in a loop of your own call pipe.scheduler.set_timesteps first"
            )
        trajectory = self._run.trajectory
        if timestep is not None:
            is_last = self._calls == len(trajectory.timestep_of_call) - 1
            reading = read_timestep(timestep, self._run.grid, self._run.check.grid)
            self._run.check.call(reading, trajectory.timestep_of_call[self._calls], self._calls, is_last)
        return trajectory, trajectory.step_of_call[self._calls]

    def _start(self, timestep: Tensor | float | None) -> Run:
        grid, num_calls = self._scheduler.timesteps, getattr(self.pipe, "_num_timesteps", None)
        values, (forms, may_differ) = tuple(grid.tolist()), forms_of(self._scheduler)
        start = getattr(self._scheduler, "begin_index", None)
        if start is None:  # DDIM and PNDM do not say where they begin
            reading = None if timestep is None else read_timestep(timestep, grid, values)
            start = 0 if reading is None else find_start(reading, values, forms, num_calls)
        num_calls = num_calls or len(grid) - start
        trajectory = make_trajectory(self._scheduler, min(start, max(0, len(grid) - num_calls)), num_calls)
        return Run(trajectory, grid, TimestepCheck(values, forms, may_differ))

    def _begin(self) -> None:
        self._run, self._calls = None, 0
        if hasattr(self.pipe, "_num_timesteps"):  # set after this by the pipelines that have it, if it is they that run
            self.pipe._num_timesteps = None

    def _advance(self) -> None:
        self._calls += 1


def find_start(reading: Reading, grid: Sequence[float], forms: Sequence[Form], num_calls: int | None) -> int:
    """Return the index in the grid of the first call of a run, by its timestep; 0 where the grid does not have it.

    Args:
        reading: of the first timestep.
        grid: the timesteps of all calls that the scheduler has; one may be there more than once.
        forms: in which the network may take a timestep, the likelier first.
        num_calls: of the run, None where the pipeline does not tell it.
    """
    values = reading.wait()
    for form in forms:
        starts = [index for index, t in enumerate(grid) if matches(form, reading, values, t)]
        starts = [index for index in starts if index + (num_calls or 1) <= len(grid)]
        if starts:
            to_the_end = len(grid) - (num_calls or len(grid))
            return to_the_end if to_the_end in starts else starts[0]
    return 0
