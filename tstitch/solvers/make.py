"""Samplers by name: what makes the solver of one trajectory."""

from collections.abc import Callable, Sequence
from functools import partial

from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.diffusers import SCHEDULERS, SchedulerSolver, make_scheduler
from tstitch.solvers.steps import PLMS, Solver, ddim_step, ddpm_step, lcm_step

SAMPLERS = ("ddim", "ddpm", "plms", "lcm", *SCHEDULERS)


def solver_factory(
    name: str, schedule: NoiseSchedule, timesteps: Sequence[int], eta: float = 0.0
) -> Callable[[], Solver]:
    """Return a function that makes the solver of one trajectory along `timesteps`.

    Raises:
        UserError: an unknown name, an `eta` outside [0, 1] or with another sampler than ddim, or a
            grid that the sampler cannot follow.
    """
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler {name!r}; known: {', '.join(SAMPLERS)}")
    if name != "ddim" and eta != 0:
        raise UserError(f"sampler {name} has no eta, got {eta}; sampler=ddim has one")
    if not 0 <= eta <= 1:
        raise UserError(f"sampler eta must lie in [0, 1], got {eta}")
    if name in SCHEDULERS:
        make_scheduler(name, schedule, timesteps)
        return partial(SchedulerSolver, name, schedule, timesteps)
    return {
        "ddim": lambda: partial(ddim_step, eta=eta),
        "ddpm": lambda: ddpm_step,
        "plms": PLMS,
        "lcm": lambda: lcm_step,
    }[name]
