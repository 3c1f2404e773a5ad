"""The small model with the large one's correction of some steps ago: the simplest use of both (ours)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class HeldCorrectionRouter:
    """p = p_S + (p_L - p_S at the last step of the large model), which is asked at every `every`-th step.

    The large model's own prediction is taken where it is asked. Any solver; the correction is exact for models that
    differ by a constant.
    """

    every: int
    small: int = 0
    large: int = 1

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        models = (self.large,) if self.every == 1 else (self.small, self.large)
        return (Stage(models, 0, len(steps)),)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "HeldCorrectionRoute":
        return HeldCorrectionRoute(self)

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        small, large = names[self.small], names[self.large]
        return f"{large} at one of every {self.every} steps, {small} at the others with the correction held"

    def identity(self) -> dict:
        return {"router": "held", "every": self.every, "small": self.small, "large": self.large}


@dataclass
class HeldCorrectionRoute:
    """The correction (N, C, H, W) of the last step of the large model."""

    rule: HeldCorrectionRouter
    correction: Tensor | None = None

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        is_corrected = step.index % self.rule.every == 0

        def predict(asked: Tensor, timestep: int) -> Prediction:
            if self.rule.every == 1:
                return ask(self.rule.large, asked, timestep)
            small = ask(self.rule.small, asked, timestep)
            if not is_corrected:
                return Prediction(small.eps + self.correction, small.variance)
            large = ask(self.rule.large, asked, timestep)
            self.correction = large.eps - small.eps
            return large

        return predict
