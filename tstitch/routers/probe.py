"""Switch an image when the other model, asked now and then, disagrees enough (ours; a rule for each image)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.routers.by_image import relative_difference, scatter
from tstitch.routers.switching import Switches, stages_after
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class ProbeRouter:
    """While `first` predicts an image, `then` is asked every `every` steps from step `min_steps` on, and paid for.

    r = |p_S - p_L| / |p_L|. From small to large an image switches when r >= threshold: the small model is no longer
    good enough. From large to small it switches when r < threshold: the small one has become so.
    """

    first: int
    then: int
    threshold: float
    every: int
    min_steps: int = 0

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        return stages_after(self.first, self.then, self.min_steps, steps)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "ProbeRoute":
        return ProbeRoute(self, Switches.of(self.first, self.then, len(noise.indices), len(steps)))

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        side = "above" if self.first < self.then else "below"
        return (
            f"{names[self.first]}, then {names[self.then]}: each image where their difference is {side} "
            f"{self.threshold:g}, asked at one of every {self.every} steps from step {self.min_steps} on"
        )

    def identity(self) -> dict:
        rule = {"threshold": self.threshold, "every": self.every, "min_steps": self.min_steps}
        return {"router": "probe", "first": self.first, "then": self.then, **rule}


@dataclass
class ProbeRoute:
    """A batch whose images are probed at some steps."""

    rule: ProbeRouter
    switches: Switches

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {"switch_step": self.switches.switch_step}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        since = step.index - self.rule.min_steps
        if since < 0 or since % self.rule.every or not self.switches.waiting.any():
            return partial(self.switches.predict, ask)
        probed = self._probe(step, latents, ask)

        def predict(asked: Tensor, timestep: int) -> Prediction:
            # A solver of second order asks again, elsewhere.
            return probed if asked is latents else self.switches.predict(ask, asked, timestep)

        return predict

    def _probe(self, step: Step, latents: Tensor, ask: Ask) -> Prediction:
        """Ask both models for the images that wait, let go those that are due, predict all."""
        rule, waiting = self.rule, self.switches.waiting
        rows = waiting.nonzero().flatten().to(latents.device)
        some = None if waiting.all() else rows
        mine, other = (ask(model, latents[rows], step.timestep, some) for model in (rule.first, rule.then))
        small, large = (mine, other) if rule.first < rule.then else (other, mine)
        difference = relative_difference(small.eps, large.eps).cpu()
        is_due = difference >= rule.threshold if rule.first < rule.then else difference < rule.threshold
        due = torch.zeros_like(waiting)
        due[waiting] = is_due
        self.switches.hand_over(due, step)
        here = is_due.to(latents.device)
        parts = [(rows[~here], _rows(mine, ~here)), (rows[here], _rows(other, here))]
        if not waiting.all():
            gone = (~waiting).nonzero().flatten().to(latents.device)
            parts.append((gone, ask(rule.then, latents[gone], step.timestep, gone)))
        return scatter(latents, [part for part in parts if len(part[0])])


def _rows(prediction: Prediction, mask: Tensor) -> Prediction:
    return Prediction(*(None if values is None else values[mask] for values in prediction))
