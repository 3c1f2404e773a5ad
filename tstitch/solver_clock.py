"""Which solver step a pipeline is at, heard from its scheduler.

A pipeline may call its network more than once in a solver step, and a scheduler may spend several timesteps on one.
What they all do is call `set_timesteps` before a run and `step` after each prediction.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import MethodType

from torch import Tensor

from tstitch.errors import UserError


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One run: the timestep of each solver step, and the solver step of each call of `scheduler.step`."""

    timesteps: tuple[float, ...]
    step_of_call: tuple[int, ...]


def make_trajectory(scheduler: object, start: int = 0, num_calls: int | None = None) -> Trajectory:
    """The run of `num_calls` (None: all) of `scheduler.timesteps` from index `start`; image to image starts late."""
    grid = scheduler.timesteps[start:].tolist()[:num_calls]
    steps = tuple(_step_of_call(scheduler, start, call) for call in range(len(grid)))
    return Trajectory(tuple(grid[steps.index(step)] for step in sorted(set(steps))), steps)


def _step_of_call(scheduler: object, start: int, call: int) -> int:
    if not hasattr(scheduler, "prk_timesteps"):
        return (start + call) // scheduler.order - start // scheduler.order  # Heun and its kin: two calls a step
    if scheduler.config.skip_prk_steps:
        return max(call - 1, 0)  # PNDM: the first step is an improved Euler step of two calls
    num_runge_kutta = len(scheduler.prk_timesteps)
    return call // 4 if call < num_runge_kutta else num_runge_kutta // 4 + call - num_runge_kutta


class SolverClock:
    """Counts the solver steps of a pipeline, whatever scheduler it has at the time."""

    def __init__(self, pipe: object):
        self._pipe = weakref.ref(pipe)  # the pipeline owns the network that owns this clock
        self._scheduler, self._trajectory, self._calls = None, None, 0

    @property
    def pipe(self) -> object | None:
        """The pipeline, or None where it is gone."""
        return self._pipe()

    def watch(self) -> None:
        """Hear the scheduler that the pipeline has now."""
        scheduler = getattr(self.pipe, "scheduler", None)
        if scheduler is not None and (scheduler is not self._scheduler or "step" not in vars(scheduler)):
            self.release()
            self._scheduler, self._trajectory, self._calls = scheduler, None, 0
            _call_after(scheduler, "set_timesteps", self._begin)
            _call_after(scheduler, "step", self._advance)

    def release(self) -> None:
        """Leave the scheduler as it was."""
        for name in ("set_timesteps", "step"):
            vars(self._scheduler or self).pop(name, None)
        self._scheduler = None

    def now(self, timestep: Tensor | float | None) -> tuple[Trajectory, int]:
        """The run and its solver step, when the network is called; `UserError` where the scheduler is in no run."""
        self.watch()
        if self._trajectory is None and getattr(self._scheduler, "num_inference_steps", None) is not None:
            self._trajectory = self._start(timestep)
        if self._trajectory is None or self._calls >= len(self._trajectory.step_of_call):
            raise UserError(
                "the stitched denoiser was called outside a run of the scheduler of its pipeline; stitch the pipeline "
                "that calls it, or in a loop of your own call pipe.scheduler.set_timesteps first"
            )
        return self._trajectory, self._trajectory.step_of_call[self._calls]

    def _start(self, timestep: Tensor | float | None) -> Trajectory:
        grid, start = self._scheduler.timesteps.tolist(), getattr(self._scheduler, "begin_index", None)
        if start is None:  # DDIM and PNDM do not say where they begin; pipelines pass the timestep as on the grid
            first = float(timestep.max() if isinstance(timestep, Tensor) else timestep or 0)
            start = next((index for index, value in enumerate(grid) if abs(value - first) < 1e-3), 0)
        num_calls = getattr(self.pipe, "_num_timesteps", None) or len(grid) - start
        return make_trajectory(self._scheduler, min(start, max(0, len(grid) - num_calls)), num_calls)

    def _begin(self) -> None:
        self._trajectory, self._calls = None, 0
        if hasattr(self.pipe, "_num_timesteps"):  # set after this by the pipelines that have it, if it is they that run
            self.pipe._num_timesteps = None

    def _advance(self) -> None:
        self._calls += 1


def _call_after(scheduler: object, name: str, listener: Callable[[], None]) -> None:
    plain = getattr(type(scheduler), name)

    @wraps(plain)  # pipelines look at the signature
    def heard(self: object, *args: object, **kwargs: object) -> object:
        result = plain(self, *args, **kwargs)
        if self is scheduler:  # and not a deep copy of it, which has this method too
            listener()
        return result

    setattr(scheduler, name, MethodType(heard, scheduler))
