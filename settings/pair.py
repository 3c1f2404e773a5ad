"""A pair: its denoisers, autoencoder and noise schedule, and what its images are scored with."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, complain
from settings.kinds import Number, OneOf, Whole
from settings.lists import Either, ListOf, OneOrEach
from settings.names import CLIP_SCORE, GRIDS, METRICS, Extractor
from settings.networks import Autoencoder, Denoiser
from settings.schedule import Schedule
from settings.types import BatchSize, Draws, Name, PathName, Words

Scale = Annotated[float, Number(1)]
Channels = Annotated[int | str | list[int | str], OneOrEach(Either(Whole(1, 2**14), OneOf(("all",))))]


class Evaluation(Settings):
    """The metrics of images, and the extractor and reference that they need."""

    extractor: Extractor = Field(description="network of the features")
    extractor_weights: PathName = Field(None, description="its file; nothing is downloaded")
    reference: PathName = Field(description="an .npz of scripts.reference, or ADM's")
    metrics: Annotated[list[str], ListOf(OneOf(METRICS), shortest=0, is_distinct=True)] = Field(
        description="what is measured; []: a sweep measures times alone"
    )
    bootstrap: Draws = Field(None, description="draws for the Inception Score's interval; 0: no intervals")
    batch_size: BatchSize = Field(None, description="images at once")
    clip: PathName = Field(None, description="for clip_score: folder of a CLIP model in transformers' layout")

    @model_validator(mode="after")
    def _check_clip(self) -> "Evaluation":
        if CLIP_SCORE in self.metrics and self.clip is None:
            raise complain("has clip_score among its metrics, which needs clip, the folder of a CLIP model")
        return self


class Pair(Settings):
    """One denoiser or more, small to large, that share latents."""

    name: Name = Field(description="of the pair, in results")
    denoisers: dict[str, Denoiser] = Field(description="small to large, by short names")
    autoencoder: Autoencoder = Field(description="between images and latents")
    schedule: Schedule = Field(description="noise schedule of the trajectory, and of denoisers that state none")
    data: Words = Field(description="data set that the images are scored with")
    evaluation: Evaluation = Field(description="what the images are scored with")
    fractions: Annotated[list[float], ListOf(Number(0, 1))] = Field(description="default of stitch.fractions")
    grid: Annotated[str, OneOf(GRIDS)] = Field(description="default of sampler.grid")
    guidance_channels: Channels = Field(description="default of guidance.channels")
    guidance_scale: Scale = Field(description="default of guidance.scale")

    @model_validator(mode="after")
    def _check_denoisers(self) -> "Pair":
        if not self.denoisers:
            raise complain("needs one denoiser or more under denoisers, got none")
        return self
