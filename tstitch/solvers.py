"""Solvers: one pure function each, from latents at one timestep to latents at the next.

A solver step is called as `step(predict, latents, step, noise)`. `predict(latents, timestep)` is
the denoiser that the allocation gives to this step, so a solver that calls it more than once never
mixes two networks within a step. `noise(index)` gives the Gaussian noise of step `index`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule, check_timesteps

Predict = Callable[[Tensor, int], Prediction]
StepNoise = Callable[[int], Tensor]


@dataclass(frozen=True)
class Step:
    """One step of a trajectory: from `timestep` to the next lower one of the list.

    `alpha_bar` and `alpha_bar_next` are the cumulative alphas at both ends; after the last step
    `alpha_bar_next` is 1, which is clean data.
    """

    index: int
    timestep: int
    alpha_bar: float
    alpha_bar_next: float
    is_last: bool


Solver = Callable[[Predict, Tensor, Step, StepNoise], Tensor]


def trajectory_steps(schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[Step]:
    """The steps along strictly descending `timesteps`."""
    check_timesteps(timesteps, schedule.num_train_timesteps)
    alpha_bars = [float(schedule.alphas_cumprod[t]) for t in timesteps] + [1.0]
    last = len(timesteps) - 1
    return [Step(i, t, alpha_bars[i], alpha_bars[i + 1], i == last) for i, t in enumerate(timesteps)]


def ddim_step(predict: Predict, latents: Tensor, step: Step, noise: StepNoise, *, eta: float) -> Tensor:
    """DDIM (Song et al. 2021, equations 12 and 16).

    alpha-bar_t -> `step.alpha_bar`, alpha-bar_{t-1} -> `step.alpha_bar_next`. `eta` 0 is
    deterministic, 1 has the variance of DDPM.
    """
    eps = predict(latents, step.timestep).eps
    now, nxt = step.alpha_bar, step.alpha_bar_next
    sigma = eta * math.sqrt((1 - nxt) / (1 - now)) * math.sqrt(1 - now / nxt)
    clean = latents * math.sqrt(1 / now) - eps * math.sqrt(1 / now - 1)
    result = clean * math.sqrt(nxt) + eps * math.sqrt(1 - nxt - sigma**2)
    if sigma == 0 or step.is_last:
        return result
    return result + sigma * noise(step.index)


def ddpm_step(predict: Predict, latents: Tensor, step: Step, noise: StepNoise) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, equation 7) with learned-range variance.

    beta_t -> `beta`, the respaced one; the log variance lies between those of the posterior and of
    beta (Nichol & Dhariwal 2021, equation 15). The last step adds no noise.
    """
    eps, variance = predict(latents, step.timestep)
    now, nxt = step.alpha_bar, step.alpha_bar_next
    beta = 1 - now / nxt
    clean = latents * math.sqrt(1 / now) - eps * math.sqrt(1 / now - 1)
    mean = clean * (beta * math.sqrt(nxt) / (1 - now)) + latents * ((1 - nxt) * math.sqrt(1 - beta) / (1 - now))
    if step.is_last:
        return mean
    if variance is None:
        raise UserError("sampler ddpm needs denoisers that predict a variance; use sampler=ddim with sampler.eta=1")
    share = (variance + 1) / 2
    log_variance = share * math.log(beta) + (1 - share) * math.log(beta * (1 - nxt) / (1 - now))
    return mean + (0.5 * log_variance).exp() * noise(step.index)


def make_solver(name: str, eta: float = 0.0) -> Solver:
    """A solver by name: `ddim` (with `eta` in [0, 1]) or `ddpm`."""
    if name == "ddpm":
        if eta != 0:
            raise UserError(f"sampler ddpm has no eta, got {eta}; sampler=ddim has one")
        return ddpm_step
    if name != "ddim":
        raise UserError(f"unknown sampler {name!r}; known: ddim, ddpm")
    if not 0 <= eta <= 1:
        raise UserError(f"sampler eta must lie in [0, 1], got {eta}")
    return partial(ddim_step, eta=eta)
