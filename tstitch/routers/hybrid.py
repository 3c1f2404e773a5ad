"""The small model everywhere, the large one where they differ most (HybridStitch, arXiv 2603.07815)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from tstitch.denoiser import Prediction, Region
from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.routers.by_image import combine
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class HybridRouter:
    """`first` alone, then both, then the other one alone.

    In a hybrid step the small model predicts everything and the large one the share `region` of the patches of each
    image where |p_L - p_S|, averaged over channels, was largest. They are chosen anew at every `every`-th hybrid step,
    which asks the large model for all patches and takes its prediction. A DiT predicts the chosen patches alone, with
    the keys and values of the others as it knew them; a U-Net predicts all and saves nothing.
    """

    first: int
    first_steps: int
    hybrid_steps: int
    region: float
    every: int
    patch_size: int
    small: int = 0
    large: int = 1

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        start, stop = self.first_steps, self.first_steps + self.hybrid_steps
        cut = [
            Stage((self.first,), 0, start),
            Stage((self.small, self.large), start, stop),
            Stage((self.last,), stop, len(steps)),
        ]
        return tuple(stage for stage in cut if stage.start < stage.stop)

    @property
    def last(self) -> int:
        """The model that comes after the hybrid steps."""
        return self.small if self.first == self.large else self.large

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "HybridRoute":
        return HybridRoute(self)

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        return (
            f"{names[self.first]} takes {self.first_steps} steps, then {names[self.small]} {self.hybrid_steps} with "
            f"{names[self.large]} on {self.region:.0%} of the patches, then {names[self.last]} "
            f"{len(steps) - self.first_steps - self.hybrid_steps}"
        )

    def identity(self) -> dict:
        rule = {"region": self.region, "every": self.every, "patch_size": self.patch_size}
        steps = {"first_steps": self.first_steps, "hybrid_steps": self.hybrid_steps}
        return {"router": "hybrid", "first": self.first, **steps, **rule, "small": self.small, "large": self.large}


@dataclass
class HybridRoute:
    """A batch with the chosen patches (N, K), and what the large model remembers of it."""

    rule: HybridRouter
    patches: Tensor | None = None
    memory: dict = field(default_factory=dict)

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        since = step.index - self.rule.first_steps
        if since < 0:
            return partial(ask, self.rule.first)
        if since >= self.rule.hybrid_steps:
            return partial(ask, self.rule.last)
        predict = self._choose if since % self.rule.every == 0 else self._blend
        return partial(predict, ask)

    def _choose(self, ask: Ask, latents: Tensor, timestep: int) -> Prediction:
        small = ask(self.rule.small, latents, timestep)
        large = ask(self.rule.large, latents, timestep, None, Region(None, 1, self.memory))
        difference = (large.eps - small.eps).abs().mean(dim=1, keepdim=True)
        by_patch = torch.nn.functional.avg_pool2d(difference, self.rule.patch_size).flatten(1)
        num_chosen = round(self.rule.region * by_patch.shape[1])
        self.patches = by_patch.topk(num_chosen, dim=1).indices.sort(dim=1).values
        return large

    def _blend(self, ask: Ask, latents: Tensor, timestep: int) -> Prediction:
        small = ask(self.rule.small, latents, timestep)
        rows, columns = (side // self.rule.patch_size for side in latents.shape[2:])
        num_patches = rows * columns
        if self.patches.shape[1] == 0:
            return small
        share = self.patches.shape[1] / num_patches
        large = ask(self.rule.large, latents, timestep, None, Region(self.patches, share, self.memory))
        chosen = torch.zeros(len(latents), num_patches, dtype=torch.bool, device=latents.device)
        mask = chosen.scatter(1, self.patches, True).view(-1, 1, rows, columns)
        mask = mask.repeat_interleave(self.rule.patch_size, 2).repeat_interleave(self.rule.patch_size, 3)
        blended = combine([large, small], lambda own, other: torch.where(mask, own, other))
        if large.variance is None or small.variance is None:
            return blended
        return Prediction(blended.eps, torch.where(mask, large.variance, small.variance))
