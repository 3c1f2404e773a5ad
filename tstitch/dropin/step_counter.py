"""Which solver step a pipeline is at, heard from its scheduler.

A pipeline may call its network more than once in a solver step, and a scheduler may spend several timesteps on one.
What they all do is call `set_timesteps` before a run and `step` after each prediction.
"""

from __future__ import annotations

import operator
import weakref
from dataclasses import dataclass

from torch import Tensor

from tstitch.dropin.holders import check_scheduler, pipelines_of, running_pipe, schedulers_of
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.announced import announce
from tstitch.solvers.scheduler_steps import Trajectory, make_trajectory, schedule_of
from tstitch.solvers.timestep_check import OUTSIDE, TimestepCheck
from tstitch.solvers.timesteps import Form, find_start, forms_of, index_in, read_timestep


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has begun, with `scheduler.timesteps` (num_calls,) as it was then, from index `start`."""

    trajectory: Trajectory
    grid: Tensor
    check: TimestepCheck
    start: int


class StepCounter:
    """Counter of the solver steps of a pipeline, whatever schedulers it has at the time, and the pipelines in it.

    Several counters may listen to one scheduler. A run is of the scheduler whose timesteps were set last. The count
    follows the timestep that `scheduler.step` is given, and each call of the network is compared with it by its own.
    """

    def __init__(self, pipe: object | None):
        # Weak, for the pipeline owns the network that owns this counter.
        self._pipe = (lambda: None) if pipe is None else weakref.ref(pipe)
        self._releases, self._schedulers, self._scheduler = [], [], None
        self._run, self._calls, self._is_set = None, 0, False

    def __deepcopy__(self, memo: dict) -> StepCounter:
        """Return a counter of the pipeline's copy, where that is made, else of the same pipeline; it listens anew."""
        return StepCounter(memo.get(id(self.pipe), self.pipe))

    @property
    def pipe(self) -> object | None:
        """The pipeline, or None where it is gone."""
        return self._pipe()

    @property
    def is_running(self) -> bool:
        """Whether the network was called since the timesteps were set."""
        return self._run is not None

    @property
    def schedule(self) -> NoiseSchedule | None:
        """The noise schedule of the scheduler of the run; see `schedule_of`."""
        return schedule_of(self._scheduler)

    def expects(self) -> tuple[object, tuple[Form, ...], float]:
        """Return the scheduler of the run, how networks may take its timesteps, and the timestep of this call."""
        return self._scheduler, self._run.check.forms, self._run.trajectory.timestep_of_call[self._calls]

    def watch(self) -> None:
        """Listen to the schedulers that the pipeline has now.

        Raises:
            UserError: its own one is not stepped by the timestep.
        """
        schedulers = schedulers_of(self.pipe)
        is_same = len(schedulers) == len(self._schedulers) and all(map(operator.is_, schedulers, self._schedulers))
        if not schedulers or (is_same and all("step" in vars(each) for each in schedulers)):
            return
        check_scheduler(schedulers[0])
        is_known = any(each is self._scheduler for each in schedulers)
        self.release()
        self._schedulers, listeners = schedulers, {"set_timesteps": self._begin, "step": self._advance}
        self._releases = [announce(each, name, listeners[name]) for each in schedulers for name in listeners]
        if is_known:
            return
        self._scheduler, grid = schedulers[0], getattr(schedulers[0], "timesteps", None)
        if self._run is not None and grid is not None and tuple(grid.tolist()) == self._run.check.grid:
            self._run.check.follows = self._run.check.may_jump = True  # a copy goes on
        else:
            self._run, self._calls, self._is_set = None, 0, False

    def release(self) -> None:
        """Listen no more; the last counter to do so leaves the schedulers as they were."""
        for release in self._releases:
            release()
        self._schedulers, self._releases = [], []

    def now(self, timestep: Tensor | float | None) -> tuple[Trajectory, int]:
        """Return the run and its solver step, when the network is called.

        Args:
            timestep: that the network is called with; None where its class takes none, which is then not compared.

        Raises:
            UserError: the scheduler is in no run, or its count does not lead to this timestep.
        """
        self.watch()
        is_set = self._is_set or getattr(self._scheduler, "num_inference_steps", None) is not None
        self._run = self._start(timestep) if self._run is None and is_set else self._run
        if self._run is None:
            raise UserError(OUTSIDE)
        trajectory, check = self._run.trajectory, self._run.check
        if timestep is not None:
            reading = read_timestep(timestep, self._run.grid, check.grid)
            self._calls = check.call(reading, trajectory.timestep_of_call, self._calls)
        if self._calls >= len(trajectory.step_of_call):
            raise UserError(OUTSIDE)
        return trajectory, trajectory.step_of_call[self._calls]

    def _start(self, timestep: Tensor | float | None) -> Run:
        grid, scheduler = self._scheduler.timesteps, self._scheduler
        told = (getattr(each, "_num_timesteps", None) for each in self._pipes())
        num_calls, start = next(filter(None, told), None), getattr(scheduler, "begin_index", None)
        check = TimestepCheck(tuple(grid.tolist()), *forms_of(scheduler))
        # Of the steps: of the calls within one, some may lie between two others.
        if sorted(steps := list(make_trajectory(scheduler).timesteps)) not in (steps, steps[::-1]):
            raise UserError("the scheduler goes back to noisier timesteps, so its steps have no order to share out")
        if start is None:  # DDIM and PNDM do not say where they begin
            reading = None if timestep is None else read_timestep(timestep, grid, check.grid)
            start = 0 if reading is None else find_start(reading, check.grid, check.forms, num_calls, scheduler.order)
        num_calls = num_calls or len(grid) - start
        start = min(start, max(0, len(grid) - num_calls))
        return Run(make_trajectory(scheduler, start, num_calls), grid, check, start)

    def _pipes(self) -> list[object]:
        """List the pipelines whose call this may be: one made of the same components may be running."""
        return [*pipelines_of(self.pipe), *pipelines_of(running_pipe())]

    def _begin(self, scheduler: object, *_: object, **__: object) -> None:
        self._scheduler, self._run, self._calls, self._is_set = scheduler, None, 0, True
        for each in (each for each in self._pipes() if hasattr(each, "_num_timesteps")):
            each._num_timesteps = None  # set after this by the pipelines that have it, if it is they that run

    def _advance(self, scheduler: object, *args: object, **kwargs: object) -> None:
        """Count a step: the one after the timestep that it was given, where that is one of the grid."""
        if scheduler is not self._scheduler:
            return
        timestep = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        index = index_in(timestep, self._run.grid) if self._run is not None and isinstance(timestep, Tensor) else None
        self._calls = self._calls + 1 if index is None else index + 1 - self._run.start
