"""diffusers' schedulers as solvers, on the noise schedule and the timesteps of the pair.

The schedulers derive their own grids; here the timesteps and the noise levels (sigma =
sqrt((1 - alpha-bar) / alpha-bar)) are ours, and only the update rule is theirs. Euler and Heun
work on latents that are scaled by 1 / sqrt(alpha-bar); the conversion is done around each step.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.steps import Predict, Step, StepNoise

SCHEDULERS = ("dpmpp_2m", "unipc", "heun", "euler", "pndm")


class SchedulerSolver:
    """One trajectory with a diffusers scheduler.

    Multistep schedulers keep their history in this object. It may start at any step: a solver that
    is made anew at a switch of denoisers starts there with an empty history.
    """

    def __init__(self, name: str, schedule: NoiseSchedule, timesteps: Sequence[int]):
        self.name = name
        self.scheduler = make_scheduler(name, schedule, timesteps)
        self.started = False

    def __call__(self, predict: Predict, latents: Tensor, step: Step, noise: StepNoise) -> Tensor:
        if self.name == "pndm":
            return self._pseudo_linear(predict, latents, step)
        if not self.started:
            self.started = True
            self.scheduler.set_begin_index(step.index * (2 if self.name == "heun" else 1))
        if self.name not in ("euler", "heun"):
            return self._update(predict(latents, step.timestep).eps, step.timestep, latents)
        scaled = latents / math.sqrt(step.alpha_bar)
        scaled = self._update(predict(latents, step.timestep).eps, step.timestep, scaled)
        latents = scaled * math.sqrt(step.alpha_bar_next)
        if self.name == "euler" or step.timestep_next is None:
            return latents
        scaled = self._update(predict(latents, step.timestep_next).eps, step.timestep_next, scaled)
        return scaled * math.sqrt(step.alpha_bar_next)

    def _pseudo_linear(self, predict: Predict, latents: Tensor, step: Step) -> Tensor:
        is_first = self.scheduler.counter == 0
        latents = self._update(predict(latents, step.timestep).eps, step.timestep, latents)
        if not is_first or step.timestep_next is None:
            return latents
        return self._update(predict(latents, step.timestep_next).eps, step.timestep_next, latents)

    def _update(self, eps: Tensor, timestep: int, latents: Tensor) -> Tensor:
        # Euler refuses whole numbers, which it takes for indices; PNDM looks its alphas up by them.
        timestep = timestep if self.name == "pndm" else torch.tensor(float(timestep))
        return self.scheduler.step(eps, timestep, latents, return_dict=False)[0]


def make_scheduler(name: str, schedule: NoiseSchedule, timesteps: Sequence[int]):
    """Make the scheduler `name` of diffusers, set to `timesteps` of `schedule`.

    Raises:
        UserError: PNDM on a grid without a whole stride, which it cannot follow.
    """
    import diffusers

    alphas_cumprod = schedule.alphas_cumprod
    betas = 1 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])
    common = {"num_train_timesteps": len(betas), "trained_betas": betas}
    if name == "pndm":
        return _make_pndm(diffusers.PNDMScheduler, schedule, timesteps, common)
    final = "zero" if schedule.final_alpha_bar == 1 else "sigma_min"
    if name == "dpmpp_2m":
        scheduler = diffusers.DPMSolverMultistepScheduler(**common, final_sigmas_type=final)
    elif name == "unipc":
        scheduler = diffusers.UniPCMultistepScheduler(**common, final_sigmas_type=final)
    elif name == "heun":
        scheduler = diffusers.HeunDiscreteScheduler(**common)
    else:
        scheduler = diffusers.EulerDiscreteScheduler(**common)
    scheduler.set_timesteps(len(timesteps))
    alpha_bars = np.array([*(alphas_cumprod[t] for t in timesteps), schedule.final_alpha_bar])
    sigmas = torch.from_numpy(np.sqrt((1 - alpha_bars) / alpha_bars)).float()
    grid = torch.tensor(timesteps)
    if name == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        grid = torch.cat([grid[:1], grid[1:].repeat_interleave(2)])
    scheduler.sigmas, scheduler.timesteps = sigmas, grid
    if name == "euler":
        scheduler.is_scale_input_called = True  # the scaling is done around the step
    return scheduler


def _make_pndm(kind: type, schedule: NoiseSchedule, timesteps: Sequence[int], common: dict):
    strides = set(np.diff(timesteps).tolist())
    if len(strides) != 1:
        raise UserError("sampler pndm needs a grid with a whole stride (ddim_stride, ldm_uniform); plms takes any grid")
    scheduler = kind(**common, skip_prk_steps=True, set_alpha_to_one=schedule.final_alpha_bar == 1)
    scheduler.set_timesteps(len(timesteps))
    # The scheduler finds the previous timestep by dividing these two numbers, which must give the grid's own stride.
    scheduler.register_to_config(num_train_timesteps=-strides.pop() * len(timesteps))
    scheduler.num_inference_steps = len(timesteps)
    return scheduler
