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
    since then exceeds `threshold`; every image begins with it. A solver that asks several times in a step gets the
    large model's prediction each time, for these images.
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
        due: Tensor | None = None

        def predict(asked: Tensor, timestep: int) -> Prediction:
            nonlocal due
            small, is_first = ask(self.rule.small, asked, timestep), due is None
            if is_first:
                due = self._due(small.eps)
            if not due.any():
                return self._corrected(small)
            rows = due.nonzero().flatten().to(asked.device)
            large = ask(self.rule.large, asked[rows], timestep, None if due.all() else rows)
            if is_first:
                self._keep(small.eps, large.eps, rows)
                self.large_steps += due
            return self._with_large(self._corrected(small), large, rows)

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

    def _keep(self, small: Tensor, large: Tensor, rows: Tensor) -> None:
        """Begin anew from the predictions of images `rows`: of all of the small model, of these of the large one."""
        if self.anchor is None:
            self.anchor, self.correction = torch.zeros_like(small), torch.zeros_like(small)
            self.drift = torch.zeros(len(small), device=small.device)
        self.anchor[rows], self.drift[rows] = small[rows], 0.0
        self.correction[rows] = large - small[rows]

    @staticmethod
    def _with_large(corrected: Prediction, large: Prediction, rows: Tensor) -> Prediction:
        eps, variance = corrected
        eps[rows] = large.eps
        if variance is not None and large.variance is not None:
            variance = variance.clone()
            variance[rows] = large.variance
        return Prediction(eps, variance)
