"""A noise schedule: of a trajectory, or that which a denoiser was trained with; chosen by its `kind`."""

from typing import Annotated, ClassVar

from pydantic import Field, Tag, model_validator

from settings.base import Settings, complain
from settings.choice import choose_by, mark
from settings.kinds import Whole
from settings.types import Positive, Share, Words

Timesteps = Annotated[int, Whole(2, 10**6)]


class Linear(Settings):
    """Betas evenly spaced."""

    kind_name: ClassVar[str] = "linear"

    kind: Words = Field(description="linear, scaled_linear or cosine; of a denoiser also flow or ve")
    beta_start: Share = Field(description="beta at timestep 0")
    beta_end: Share = Field(description="beta at the last timestep")
    num_train_timesteps: Timesteps = Field(1000, description="timesteps of the training")

    @model_validator(mode="after")
    def _check_betas(self) -> "Linear":
        if not 0 < self.beta_start < self.beta_end < 1:
            given = f"beta_start={self.beta_start:g} and beta_end={self.beta_end:g}"
            raise complain(f"needs 0 < beta_start < beta_end < 1, got {given}")
        return self


class ScaledLinear(Linear):
    """Betas evenly spaced in their square root."""

    kind_name: ClassVar[str] = "scaled_linear"


class Cosine(Settings):
    """Cumulative alphas that fall like a squared cosine."""

    kind_name: ClassVar[str] = "cosine"

    kind: Words = Field(description="cosine")
    num_train_timesteps: Timesteps = Field(1000, description="timesteps of the training")


class Flow(Settings):
    """Straight paths from data to noise; the network takes `num_train_timesteps` times sigma."""

    kind_name: ClassVar[str] = "flow"

    kind: Words = Field(description="flow")
    num_train_timesteps: Timesteps = Field(1000, description="timesteps of the training")


class VE(Settings):
    """Noise added to data that keep their size, its deviation geometric in the timestep."""

    kind_name: ClassVar[str] = "ve"

    kind: Words = Field(description="ve")
    sigma_min: Positive = Field(description="deviation at timestep 0")
    sigma_max: Positive = Field(description="deviation at the last timestep")
    num_train_timesteps: Timesteps = Field(1000, description="timesteps of the training")

    @model_validator(mode="after")
    def _check_sigmas(self) -> "VE":
        if not self.sigma_min < self.sigma_max:
            raise complain(f"needs sigma_min < sigma_max, got {self.sigma_min:g} and {self.sigma_max:g}")
        return self


OfTrajectory = (Linear, ScaledLinear, Cosine)
Schedule = Annotated[
    Annotated[Linear, Tag(mark("linear"))]
    | Annotated[ScaledLinear, Tag(mark("scaled_linear"))]
    | Annotated[Cosine, Tag(mark("cosine"))],
    choose_by("kind", *OfTrajectory),
]
DenoiserSchedule = Annotated[
    Annotated[Linear, Tag(mark("linear"))]
    | Annotated[ScaledLinear, Tag(mark("scaled_linear"))]
    | Annotated[Cosine, Tag(mark("cosine"))]
    | Annotated[Flow, Tag(mark("flow"))]
    | Annotated[VE, Tag(mark("ve"))],
    choose_by("kind", *OfTrajectory, Flow, VE),
]
