"""Trajectories of a pair's models from the same noise."""

from dataclasses import replace

import torch
from torch import Tensor

from models.pair import Pair
from scripts.plan import Plan
from scripts.sampling import denoise, draw_labels, guided_denoisers
from tstitch.allocation import Allocation
from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise


def trajectory(plan: Plan, pair: Pair, allocation: Allocation, device: torch.device) -> Tensor:
    """Latents after each step of the plan's images under another allocation: (T, N, C, H, W), on the CPU."""
    noise, latents = ImageNoise(plan.seed, range(plan.num_images)), []
    denoisers = guided_denoisers(plan, pair, noise)
    own = replace(plan, allocation=allocation)
    denoise(own, denoisers, noise, draw_labels(plan, noise), device, lambda done: latents.append(done.latents.cpu()))
    return torch.stack(latents)


def outputs_along(plan: Plan, pair: Pair, leader: int, device: torch.device) -> Tensor:
    """What every denoiser predicts at the latents that `leader` walks through: (models, T, N, C, H, W) of eps.

    A solver that calls twice a step has its first call looked at.
    """
    noise, num_steps = ImageNoise(plan.seed, range(plan.num_images)), len(plan.timesteps)
    denoisers = guided_denoisers(plan, pair, noise)
    seen: dict[int, list[Tensor]] = {}

    def look(latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        predictions = [denoiser(latents, timestep, condition) for denoiser in denoisers]
        seen.setdefault(int(timestep[0]), [prediction.eps.cpu() for prediction in predictions])
        return predictions[leader]

    own = replace(plan, allocation=(leader,) * num_steps)
    denoise(own, [look] * len(denoisers), noise, draw_labels(plan, noise), device, lambda done: None)
    return torch.stack([torch.stack(outputs) for outputs in seen.values()]).transpose(0, 1)
