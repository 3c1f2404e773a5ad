"""The settings of `scripts.choose`."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.kinds import OneOf, Whole
from settings.lists import ListOf
from settings.names import ANY_PRECISION, COMPILE_MODES, SamplerName
from settings.over_fractions import SamplerNames, StepCounts
from settings.sampling import SCALE, SamplingSettings
from settings.sweep import PointLatency
from settings.types import Count, PathName, Positive, Seed, Share

ONE_CALL = ("ddim", "dpmpp_2m", "unipc", "euler", "lcm")  # samplers whose step is one call of a denoiser


class Baseline(Settings):
    """The baseline of the choice: the large denoiser alone, in float32."""

    sampler: SamplerName = Field(description="its solver")
    num_steps: Annotated[int, Whole(1, 10**6)] = Field(description="its solver steps")


class ChooseSettings(SamplingSettings):
    """The settings of `scripts.choose`."""

    ms: Positive = Field(description="the budget: milliseconds for an image, in a batch of latency.batch_size")
    gb: Positive | None = Field(description="largest size of the denoisers in memory together; null: any")
    within: Share = Field(description="how much worse than the baseline is taken for as good, as a share of its FID")
    samplers: SamplerNames = Field(description="solvers to choose from, with one call in a step")
    num_steps: StepCounts = Field(description="numbers of solver steps to choose from")
    guidance_scales: Annotated[list[float], ListOf(SCALE)] = Field(description="guidance scales to choose from")
    precisions: Annotated[list[str], ListOf(ANY_PRECISION, is_distinct=True)] = Field(
        description="precisions of the denoisers to choose from"
    )
    compiles: Annotated[list[str], ListOf(OneOf(COMPILE_MODES), is_distinct=True)] = Field(
        description="kinds of compile to choose from"
    )
    calibration: PathName | None = Field(description="of analysis=disagreement; null: it is measured first")
    distance_images: Count = Field(description="images whose distance to the large model's own ones is measured")
    rounds: Annotated[list[int], ListOf(Whole(2, 10**6))] = Field(description="images that each round of FID adds")
    final_images: Count = Field(description="images of the reported numbers, of final_seed")
    final_seed: Seed = Field(description="of the reported numbers; the choice is made on other seeds")
    against: Baseline = Field(description="the baseline")
    latency: PointLatency = Field(description="how times are measured")

    @model_validator(mode="after")
    def _check_choice(self) -> "ChooseSettings":
        if several := [name for name in self.samplers if name not in ONE_CALL]:
            raise refuse(f"samplers may be {', '.join(ONE_CALL)}, whose steps are one call each, got {several[0]}")
        if len(self.pair.denoisers) < 2:
            raise refuse(f"scripts.choose chooses between two denoisers or more, pair={self.pair.name} has one")
        if self.stitch.explicit or self.router.kind != "allocation":
            raise refuse("scripts.choose chooses who takes which step; leave out stitch and router")
        if "fid" not in self.pair.evaluation.metrics:
            raise refuse("scripts.choose chooses by FID; give pair.evaluation.metrics=[fid]")
        seeds = range(self.seed, self.seed + len(self.rounds) + 1)
        if self.final_seed in seeds:
            raise refuse(f"final_seed={self.final_seed} is among the seeds of the choice, {seeds[0]} to {seeds[-1]}")
        return self
