"""The settings of `scripts.prompts`: a stitched text-to-image pipeline and its captions."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from settings.base import Settings, refuse
from settings.kinds import Kind, Number, PathText, Text, Whole, is_finite
from settings.lists import ListOf, OrNull
from settings.names import Device, Precision
from settings.pair import Evaluation
from settings.sampling import Stitch
from settings.types import BatchSize, Count, NumSteps, PathName, Seed, Size, Switch, Words


@dataclass(frozen=True)
class CallValue(Kind):
    """Values of a pipeline's argument, which only the pipeline knows."""

    one: str = "a finite number, text, true, false, or a list of these"
    several: str = "finite numbers, texts, or lists of these"

    def accepts(self, value: object) -> bool:
        if isinstance(value, list):
            return all(map(self.accepts, value))
        return value is None or isinstance(value, str | bool) or (type(value) in (int, float) and is_finite(value))


class Call(Settings):
    """Arguments of the pipeline; another one is `+call.NAME=VALUE`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, CallValue()]]

    num_inference_steps: NumSteps = Field(description="steps of the scheduler")
    guidance_scale: Annotated[float, Number(0)] | None = Field(description="as the pipeline takes it")
    negative_prompt: Annotated[str, CallValue()] | None = Field(description="as the pipeline takes it")
    height: Size | None = Field(description="of the images in pixels")
    width: Size | None = Field(description="of the images in pixels")
    controlnet_conditioning_scale: Annotated[float, Number(0)] | None = Field(description="of the ControlNet")


class PromptSettings(Settings):
    """The settings of `scripts.prompts`."""

    captions: PathName | None = Field(
        description="a text file with one prompt a line, or COCO's captions .json: one image for each"
    )
    prompt: Words | None = Field(description="or a single prompt")
    num_images: Count | None = Field(
        description="null: one for each caption; more go through the captions again with other noise"
    )
    batch_size: BatchSize = Field(description="images at once")
    seed: Seed = Field(description="of all noise")
    precision: Precision = Field(description="of the whole pipeline")
    device: Device = Field(description="where it runs; auto: a GPU where there is one")
    out: PathName | None = Field(description="where the run goes; null: a directory under runs/ by the configuration")
    dry_run: Switch = Field(
        description="true: print the plan, what of it is there and the disk it needs, and make nothing"
    )
    large: PathName = Field(description="folder of the pipeline, whose denoiser is the large one")
    small: Annotated[list[str], ListOf(PathText(), shortest=0)] = Field(
        description="folders of the smaller denoisers, small to large"
    )
    large_denoiser: PathName | None = Field(description="a folder whose denoiser takes the place of the pipeline's own")
    vae: PathName | None = Field(description="a folder with another autoencoder")
    controlnet: PathName | None = Field(description="a folder with a ControlNet, which needs a control_image")
    control_image: PathName | None = Field(description="as the ControlNet takes it: edges, depth or a pose")
    loras: Annotated[list, ListOf(OrNull(PathText()))] | None = Field(
        description="a file for each denoiser, small to large, null for none; fused"
    )
    scheduler: Words | None = Field(description="a scheduler class of diffusers; null: the pipeline's own")
    allow: Annotated[list[str], ListOf(Text(), shortest=0)] | None = Field(
        description="differences between the denoisers that would be refused"
    )
    stitch: Stitch = Field(description="who takes which solver steps")
    call: Call = Field(description="arguments of the pipeline; another one is +call.NAME=VALUE")
    resize: Size | None = Field(description="side of the images on disk, made smaller by Pillow's bicubic filter")
    deepcache_interval: Annotated[int, Whole(1, 10**6)] | None = Field(
        description="DeepCache on the large denoiser, every so many steps in full"
    )
    tome_ratio: Annotated[float, Number(0, 0.75, is_open=True)] | None = Field(
        description="token merging in all denoisers, the share of merged tokens"
    )
    evaluation: Evaluation = Field(description="what scripts.evaluate takes by default, and a sweep")
    paper: dict[str, Any] = Field(description="the paper's numbers")

    @model_validator(mode="after")
    def _check_together(self) -> "PromptSettings":
        if (self.captions is None) == (self.prompt is None):
            raise refuse("give one of captions=FILE and prompt='...'")
        self._check_stitch()
        num_denoisers = len(self.small) + 1
        if self.loras is not None and len(self.loras) != num_denoisers:
            raise refuse(
                f"loras needs {num_denoisers} entries (null for none), one for each denoiser, got {self.loras!r}"
            )
        if (self.control_image is None) != (self.controlnet is None):
            raise refuse("controlnet and control_image go together; give both or neither")
        return self

    def _check_stitch(self) -> None:
        if self.small:
            self.stitch.refuse_unless_one()
