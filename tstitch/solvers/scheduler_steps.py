"""The solver steps of a run of a diffusers scheduler, and who takes each, before the run begins."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from math import nan

from tstitch.allocate import Shares
from tstitch.allocation import Allocation
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


def make_trajectory(scheduler: object, start: int = 0, num_calls: int | None = None) -> Trajectory:
    """Make the run of `num_calls` (None: all) of `scheduler.timesteps` from index `start` (image to image: late)."""
    grid = scheduler.timesteps[start:].tolist()[:num_calls]
    steps = tuple(_step_of_call(scheduler, start, call) for call in range(len(grid)))
    return Trajectory(tuple(grid[steps.index(step)] for step in sorted(set(steps))), steps, tuple(grid))


def schedule_of(scheduler: object) -> NoiseSchedule | None:
    """Read the noise schedule of a scheduler; None for flow matching, which has none in alphas."""
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    return None if alphas_cumprod is None else NoiseSchedule(alphas_cumprod.double().cpu().numpy())


def _step_of_call(scheduler: object, start: int, call: int) -> int:
    if not hasattr(scheduler, "prk_timesteps"):
        return (start + call) // scheduler.order - start // scheduler.order  # Heun and its kin: two calls a step
    if scheduler.config.skip_prk_steps:
        return max(call - 1, 0)  # PNDM: the first step is an improved Euler step of two calls
    num_runge_kutta = len(scheduler.prk_timesteps)
    return call // 4 if call < num_runge_kutta else num_runge_kutta // 4 + call - num_runge_kutta


@dataclass(frozen=True)
class PlannedStep:
    """A solver step.

    Attributes:
        model: index of the denoiser that takes it.
        sigma: its noise level, of the scheduler's `sigmas`, or `sqrt(1 / alpha_cumprod - 1)`; None without either.
        share: of the steps that this denoiser takes in the whole run.
        own_timestep: of the same signal to noise on the denoiser's own schedule, where that is another.
        is_clamped: its schedule does not go as far, and `own_timestep` is its last.
    """

    model: int
    timestep: float
    sigma: float | None
    share: float
    own_timestep: float | None = None
    is_clamped: bool = False


def allocate(shares: Shares, trajectory: Trajectory, schedule: NoiseSchedule | None) -> Allocation:
    """Compile shares for a run. With alphas, timesteps that rise are an inversion, whose last steps are the noisy ones.

    Raises:
        UserError: as `Shares.allocate`.
    """
    timesteps = trajectory.timesteps
    if schedule is None or timesteps[0] >= timesteps[-1]:
        return shares.allocate(timesteps, schedule)
    return shares.allocate(timesteps[::-1], schedule)[::-1]


def plan_steps(scheduler: object, shares: Shares, settings: dict) -> list[PlannedStep]:
    """Plan a whole run on a copy of the scheduler.

    Args:
        settings: arguments of `scheduler.set_timesteps`; `mu` where it shifts its timesteps by the image's size.

    Raises:
        UserError: the scheduler or the shares do not take these settings.
    """
    scheduler = deepcopy(scheduler)
    try:
        scheduler.set_timesteps(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{type(scheduler).__name__}.set_timesteps does not take {settings}: {error}") from error
    trajectory, schedule = make_trajectory(scheduler), schedule_of(scheduler)
    allocation = allocate(shares, trajectory, schedule)
    sigmas = noise_levels(scheduler, trajectory.timesteps)
    share = {model: allocation.count(model) / len(allocation) for model in set(allocation)}
    rows = zip(allocation, trajectory.timesteps, sigmas, strict=True)
    return [PlannedStep(model, timestep, sigma, share[model]) for model, timestep, sigma in rows]


def noise_levels(scheduler: object, timesteps: Sequence[float]) -> list[float | None]:
    """The noise levels of a run's steps, of a scheduler with its timesteps set; None where it knows none.

    Args:
        timesteps: of the steps, in order; some or all of the scheduler's own.
    """
    grid = scheduler.timesteps.tolist()
    if hasattr(scheduler, "sigmas") and len(scheduler.sigmas) >= len(grid):
        calls, begin = [], 0
        for timestep in timesteps:
            begin = grid.index(timestep, begin) + 1  # several steps may have one timestep
            calls.append(begin - 1)
        return [float(scheduler.sigmas[call]) for call in calls]
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None:
        return [None] * len(timesteps)
    return [float((1 / alphas[int(t)] - 1) ** 0.5) for t in timesteps]
