"""Routers that let each image go from one model to another once, and for good: what they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.router import Ask, Stage
from tstitch.routers.by_image import predict_by_image
from tstitch.solvers.steps import Step


def stages_after(first: int, then: int, min_steps: int, steps: Sequence[Step]) -> tuple[Stage, ...]:
    """One model alone for the first `min_steps` steps, then both in memory."""
    middle = min(min_steps, len(steps))
    cut = [Stage((first,), 0, middle), Stage((first, then), middle, len(steps))]
    return tuple(stage for stage in cut if stage.start < stage.stop)


@dataclass
class Switches:
    """Who predicts each image of a batch.

    Attributes:
        switch_step: (N,) int64, on the host: the step from which on `then` predicts an image; the number of steps
            for one that has not switched.
    """

    first: int
    then: int
    switch_step: Tensor
    num_steps: int = field(repr=False)

    @classmethod
    def of(cls, first: int, then: int, num_images: int, num_steps: int) -> "Switches":
        """Make those of a batch in which no image has switched."""
        return cls(first, then, torch.full((num_images,), num_steps), num_steps)

    @property
    def waiting(self) -> Tensor:
        """(N,) bool: the images that have not switched."""
        return self.switch_step == self.num_steps

    def hand_over(self, images: Tensor, step: Step) -> None:
        """Switch the images of a mask (N,) from this step on, but for those that have switched."""
        self.switch_step[images & self.waiting] = step.index

    def predict(self, ask: Ask, latents: Tensor, timestep: int) -> Prediction:
        """Predict each image with its model."""
        return predict_by_image(ask, torch.where(self.waiting, self.first, self.then), latents, timestep)
