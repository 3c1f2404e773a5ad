"""Switch an image when its latents change steadily (SRDiffusion, arXiv 2505.19151)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.routers.switching import Switches, stages_after
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class LatentChangeRouter:
    """Each image goes from `first` to `then` at the first step after `min_steps` at which 0 < D_i - D_(i-1) < delta.

    D_i = tanh(|x_(i+1) - x_i|_1 / |x_i|_1) is how much a step changed the latents. The paper goes from the large model
    to the small one, with 0.01, 0.03 or 0.1; from small to large the rule is the same with the two exchanged, which is
    ours. An infinite delta switches every image after `min_steps`.
    """

    first: int
    then: int
    delta: float
    min_steps: int

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        return stages_after(self.first, self.then, self.min_steps, steps)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "LatentChangeRoute":
        return LatentChangeRoute(self, Switches.of(self.first, self.then, len(noise.indices), len(steps)))

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        return (
            f"{names[self.first]}, then {names[self.then]}: each image after {self.min_steps} of {len(steps)} steps, "
            f"where its latents change by less than {self.delta:g} more than a step before"
        )

    def identity(self) -> dict:
        models = {"first": self.first, "then": self.then}
        return {"router": "latent_change", **models, "delta": self.delta, "min_steps": self.min_steps}


@dataclass
class LatentChangeRoute:
    """The latents before the last step, and how much the step before it changed them."""

    rule: LatentChangeRouter
    switches: Switches
    before: Tensor | None = None
    change: Tensor | None = field(default=None)

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {"switch_step": self.switches.switch_step}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        growth = self._growth(latents)
        if step.index >= self.rule.min_steps:
            is_steady = (growth > 0) & (growth < self.rule.delta) | math.isinf(self.rule.delta)
            self.switches.hand_over(is_steady, step)
        return partial(self.switches.predict, ask)

    def _growth(self, latents: Tensor) -> Tensor:
        """D_i - D_(i-1) of the two last steps, (N,) on the host; NaN before there are two."""
        growth = torch.full((len(latents),), math.nan)
        if self.before is not None:
            size = self.before.abs().flatten(1).sum(dim=1)
            change = ((latents - self.before).abs().flatten(1).sum(dim=1) / size).tanh()
            if self.change is not None:
                growth = (change - self.change).cpu()
            self.change = change
        self.before = latents
        return growth
