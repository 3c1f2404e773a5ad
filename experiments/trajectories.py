"""Trajectories of a pair's models from the same noise."""

import torch
from torch import Tensor

from models.pair import Pair
from sampling.batch import guide, start_batch
from sampling.plan import Plan
from tstitch.allocation import Allocation
from tstitch.denoiser import Prediction
from tstitch.sampling import Span, spans


def trajectory(plan: Plan, pair: Pair, allocation: Allocation, device: torch.device) -> Tensor:
    """Latents after each step of the plan's images under another allocation: (T, N, C, H, W), on the CPU."""
    latents: list[Tensor] = []
    batch = start_batch(plan, range(plan.num_images), device, lambda done: latents.append(done.latents.cpu()))
    for span in spans(allocation):
        batch.walk.advance(guide(plan, pair.denoisers[span.denoiser], span.denoiser, batch.noise), span)
    return torch.stack(latents)


def outputs_along(plan: Plan, pair: Pair, leader: int, device: torch.device) -> Tensor:
    """What every denoiser predicts at the latents that `leader` walks through: (models, T, N, C, H, W) of eps.

    A solver that calls twice a step has its first call looked at.
    """
    batch = start_batch(plan, range(plan.num_images), device, lambda done: None)
    denoisers = [guide(plan, denoiser, k, batch.noise) for k, denoiser in enumerate(pair.denoisers)]
    seen: dict[int, list[Tensor]] = {}

    def look(latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        predictions = [denoiser(latents, timestep, condition) for denoiser in denoisers]
        seen.setdefault(int(timestep[0]), [prediction.eps.cpu() for prediction in predictions])
        return predictions[leader]

    batch.walk.advance(look, Span(leader, 0, len(plan.timesteps)))
    return torch.stack([torch.stack(outputs) for outputs in seen.values()]).transpose(0, 1)
