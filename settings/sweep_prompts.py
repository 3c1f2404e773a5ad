"""The settings of `scripts.sweep_prompts`: those of a run from prompts, and the lists that make a grid of points."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.fractions import FractionsToSweep
from settings.kinds import Number, Text
from settings.lists import ListOf
from settings.over_fractions import StepCounts
from settings.prompts import PromptSettings
from settings.sweep import Sweeping, refuse_many_points

CallScales = Annotated[list[float], ListOf(Number(0))]
Schedulers = Annotated[list[str], ListOf(Text())]


class PromptGrid(Settings):
    """A grid of points: each of its lists in place of the sweep's own."""

    fractions: FractionsToSweep = Field(None, description="of the small denoiser")
    guidance_scales: CallScales | None = Field(None, description="guidance scales")
    samplers: Schedulers | None = Field(None, description="scheduler classes of diffusers")
    num_steps: StepCounts | None = Field(None, description="numbers of the scheduler's steps")


AXES_OF_PROMPTS = tuple(PromptGrid.model_fields)


class PromptSweepSettings(Sweeping, PromptSettings):
    """The settings of `scripts.sweep_prompts`."""

    fractions: FractionsToSweep = Field(description="of the small denoiser: a list, or START:STOP:STEP")
    guidance_scales: CallScales | None = Field(description="sweeps them too; null: call.guidance_scale alone")
    samplers: Schedulers | None = Field(description="sweeps scheduler classes too; null: scheduler")
    num_steps: StepCounts | None = Field(description="sweeps them too; null: call.num_inference_steps")
    also: list[PromptGrid] | None = Field(
        description=f"further grids: a list of mappings with some of {', '.join(AXES_OF_PROMPTS)}"
    )

    @model_validator(mode="after")
    def _check_sweep(self) -> "PromptSweepSettings":
        refuse_many_points(self, AXES_OF_PROMPTS, len(self.small) + 1)
        return self

    def _check_stitch(self) -> None:
        if self.stitch.explicit:
            word = self.stitch.explicit[0]
            raise refuse(f"a sweep is over fractions, so stitch.{word} has no meaning in it; use scripts.prompts")
