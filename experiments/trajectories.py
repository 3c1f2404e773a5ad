"""Trajectories of a pair's models from the same noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from models.pair import Pair
from sampling.batch import sample_latents
from sampling.plan import Plan
from tstitch.allocation import Allocation
from tstitch.noise import ImageNoise
from tstitch.router import AllocationRouter, Ask, Stage
from tstitch.sample import StepResult
from tstitch.solvers.steps import Predict, Step


def trajectory(plan: Plan, pair: Pair, allocation: Allocation, device: torch.device) -> Tensor:
    """Latents after each step of the plan's images under another allocation: (T, N, C, H, W), on the host."""
    latents: list[Tensor] = []

    def keep(done: StepResult) -> None:
        latents.append(done.latents.cpu())

    sample_latents(
        plan, AllocationRouter(allocation), pair, ImageNoise(plan.seed, range(plan.num_images)), device, keep
    )
    return torch.stack(latents)


@dataclass(frozen=True)
class ObservingRouter:
    """One model leads; at the beginning of each step all are asked at its latents, and what they predict is kept."""

    leader: int
    num_models: int
    observed: list[list[Tensor]] = field(default_factory=list)

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        return (Stage(tuple(range(self.num_models)), 0, len(steps)),)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "ObservingRouter":
        return self

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {}

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        return f"{names[self.leader]}, with all others asked at its latents"

    def identity(self) -> dict:
        return {"observing": self.leader}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        predictions = [ask(model, latents, step.timestep) for model in range(self.num_models)]
        self.observed.append([prediction.eps.cpu() for prediction in predictions])
        return partial(ask, self.leader)


def outputs_along(plan: Plan, pair: Pair, leader: int, device: torch.device) -> Tensor:
    """Collect every denoiser's eps along the trajectory of `leader`: (models, T, N, C, H, W), on the host."""
    router = ObservingRouter(leader, len(plan.specs))
    sample_latents(plan, router, pair, ImageNoise(plan.seed, range(plan.num_images)), device)
    return torch.stack([torch.stack(outputs) for outputs in router.observed]).transpose(0, 1)
