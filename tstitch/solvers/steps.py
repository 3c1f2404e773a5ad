"""Solvers: one pure function each, from latents at one timestep to latents at the next.

A solver step is called as `step(predict, latents, step, noise)`. `predict(latents, timestep)` is
the denoiser that the allocation gives to this step, so a solver that calls it more than once never
mixes two networks within a step. `noise(index)` gives the Gaussian noise of step `index`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule, check_timesteps

Predict = Callable[[Tensor, int], Prediction]
StepNoise = Callable[[int], Tensor]


@dataclass(frozen=True)
class Step:
    """One step of a trajectory: from `timestep` to the next lower one of the list.

    `alpha_bar` and `alpha_bar_next` are the cumulative alphas at both ends. `timestep_next` is None
    at the last step, whose `alpha_bar_next` is that of (nearly) clean data.
    """

    index: int
    timestep: int
    timestep_next: int | None
    alpha_bar: float
    alpha_bar_next: float


Solver = Callable[[Predict, Tensor, Step, StepNoise], Tensor]


def trajectory_steps(schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[Step]:
    """List the steps along strictly descending `timesteps`, the last one to `schedule.final_alpha_bar`."""
    check_timesteps(timesteps, schedule.num_train_timesteps)
    alpha_bars = [float(schedule.alphas_cumprod[t]) for t in timesteps] + [schedule.final_alpha_bar]
    following = [*timesteps[1:], None]
    return [Step(i, t, following[i], alpha_bars[i], alpha_bars[i + 1]) for i, t in enumerate(timesteps)]


def ddim_step(predict: Predict, latents: Tensor, step: Step, noise: StepNoise, *, eta: float) -> Tensor:
    """Take a step of DDIM (Song et al. 2021, equations 12 and 16).

    alpha-bar_t -> `step.alpha_bar`, alpha-bar_{t-1} -> `step.alpha_bar_next`. `eta` 0 is
    deterministic, 1 has the variance of DDPM.
    """
    now, nxt = step.alpha_bar, step.alpha_bar_next
    sigma = eta * math.sqrt((1 - nxt) / (1 - now)) * math.sqrt(1 - now / nxt)
    result = _move(latents, predict(latents, step.timestep).eps, step, sigma)
    return result if sigma == 0 else result + sigma * noise(step.index)


def _move(latents: Tensor, eps: Tensor, step: Step, sigma: float = 0.0) -> Tensor:
    """Move along `eps` from one noise level to the next, leaving room for noise of deviation `sigma`."""
    now, nxt = step.alpha_bar, step.alpha_bar_next
    clean = latents * math.sqrt(1 / now) - eps * math.sqrt(1 / now - 1)
    return clean * math.sqrt(nxt) + eps * math.sqrt(1 - nxt - sigma**2)


class PLMS:
    """Pseudo linear multistep (Liu et al. 2022, equations 9 to 12), as latent diffusion runs it.

    The first step calls the denoiser twice (pseudo improved Euler); later steps combine up to
    three earlier predictions. The object holds them, so each trajectory needs its own.
    """

    WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))

    def __init__(self) -> None:
        self.history: list[Tensor] = []

    def __call__(self, predict: Predict, latents: Tensor, step: Step, noise: StepNoise) -> Tensor:
        eps = predict(latents, step.timestep).eps
        self.history = [eps, *self.history[:3]]
        if len(self.history) > 1:
            combined = sum(w * e for w, e in zip(self.WEIGHTS[len(self.history) - 1], self.history, strict=True))
            return _move(latents, combined, step)
        timestep_next = step.timestep if step.timestep_next is None else step.timestep_next
        return _move(latents, (eps + predict(_move(latents, eps, step), timestep_next).eps) / 2, step)


def ddpm_step(predict: Predict, latents: Tensor, step: Step, noise: StepNoise) -> Tensor:
    """Take a step of ancestral sampling (Ho et al. 2020, equation 7) with learned-range variance.

    beta_t -> `beta`, the respaced one; the log variance lies between those of the posterior and of
    beta (Nichol & Dhariwal 2021, equation 15). The last step adds no noise.
    """
    eps, variance = predict(latents, step.timestep)
    now, nxt = step.alpha_bar, step.alpha_bar_next
    beta = 1 - now / nxt
    clean = latents * math.sqrt(1 / now) - eps * math.sqrt(1 / now - 1)
    mean = clean * (beta * math.sqrt(nxt) / (1 - now)) + latents * ((1 - nxt) * math.sqrt(1 - beta) / (1 - now))
    if step.timestep_next is None:
        return mean
    if variance is None:
        raise UserError("sampler ddpm needs denoisers that predict a variance; use sampler=ddim with sampler.eta=1")
    share = (variance + 1) / 2
    log_variance = share * math.log(beta) + (1 - share) * math.log(beta * (1 - nxt) / (1 - now))
    return mean + (0.5 * log_variance).exp() * noise(step.index)


def lcm_step(predict: Predict, latents: Tensor, step: Step, noise: StepNoise) -> Tensor:
    """Take a step of multistep consistency sampling, for latent consistency models (Luo et al. 2023, algorithm 3).

    Skip and output weights are those of the boundary condition with timesteps scaled by 10 and a
    data deviation of 0.5, which every published LCM uses.
    """
    scaled, data_variance = 10.0 * step.timestep, 0.25
    skip = data_variance / (scaled**2 + data_variance)
    out = scaled / math.sqrt(scaled**2 + data_variance)
    eps = predict(latents, step.timestep).eps
    clean = latents * math.sqrt(1 / step.alpha_bar) - eps * math.sqrt(1 / step.alpha_bar - 1)
    clean = out * clean + skip * latents
    if step.timestep_next is None:
        return clean
    return math.sqrt(step.alpha_bar_next) * clean + math.sqrt(1 - step.alpha_bar_next) * noise(step.index)
