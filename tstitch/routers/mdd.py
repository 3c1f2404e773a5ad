"""Magnitude from the small model at every step, direction from the large one now and then (MDD, arXiv 2608.17695)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.routers.by_image import norm
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class MDDRouter:
    """p = |p_S| unit(p_S + (p_L - p_S at the image's last step of the large model)).

    An image returns to the large model, and takes its prediction, when the sum of 1 - cos(p_S now, p_S at that step)
    since then exceeds `threshold`; every image begins with it.
    """

    threshold: float = 0.005
    small: int = 0
    large: int = 1

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        return (Stage((self.small, self.large), 0, len(steps)),)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "MDDRoute":
        return MDDRoute(self, torch.zeros(len(noise.indices), dtype=torch.int64))

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        return (
            f"{names[self.small]} at every step, with the direction of {names[self.large]}, which each image asks anew "
            f"after a drift of {self.threshold:g}"
        )

    def identity(self) -> dict:
        return {"router": "mdd", "threshold": self.threshold, "small": self.small, "large": self.large}


@dataclass
class MDDRoute:
    """A batch with what the last step of the large model left for each image.

    Attributes:
        large_steps: (N,) int64, how many each image has had.
        anchor: (N, C, H, W), p_S at that step.
        correction: (N, C, H, W), p_L - p_S at that step.
        drift: (N,), the sum of 1 - cos since then.
    """

    rule: MDDRouter
    large_steps: Tensor
    anchor: Tensor | None = None
    correction: Tensor | None = None
    drift: Tensor | None = None

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {"large_steps": self.large_steps}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        def predict(asked: Tensor, timestep: int) -> Prediction:
            small = ask(self.rule.small, asked, timestep)
            if asked is not latents:  # a solver of second order asks again, elsewhere
                return self._corrected(small)
            due = self._due(small.eps)
            return self._corrected(small) if not due.any() else self._asked_large(small, asked, timestep, due, ask)

        return predict

    def _due(self, small: Tensor) -> Tensor:
        """The images (N,) bool, on the host, that return to the large model."""
        if self.anchor is None:
            return torch.ones(len(small), dtype=torch.bool)
        cosine = (small * self.anchor).flatten(1).sum(dim=1) / (norm(small) * norm(self.anchor)).clamp(min=1e-12)
        self.drift = self.drift + 1 - cosine
        return (self.drift > self.rule.threshold).cpu()

    def _corrected(self, small: Prediction) -> Prediction:
        direction = small.eps + self.correction
        length = norm(small.eps) / norm(direction).clamp(min=1e-12)
        return Prediction(direction * length.view(-1, 1, 1, 1), small.variance)

    def _asked_large(self, small: Prediction, latents: Tensor, timestep: int, due: Tensor, ask: Ask) -> Prediction:
        rows = due.nonzero().flatten().to(latents.device)
        large = ask(self.rule.large, latents[rows], timestep, None if due.all() else rows)
        if self.anchor is None:
            self.anchor, self.correction = torch.zeros_like(latents), torch.zeros_like(latents)
            self.drift = torch.zeros(len(latents), device=latents.device)
        self.anchor[rows], self.drift[rows] = small.eps[rows], 0.0
        self.correction[rows] = large.eps - small.eps[rows]
        self.large_steps += due
        eps, variance = self._corrected(small)
        eps[rows] = large.eps
        if variance is not None and large.variance is not None:
            variance = variance.clone()
            variance[rows] = large.variance
        return Prediction(eps, variance)
