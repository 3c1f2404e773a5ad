"""The settings of `scripts.latency` and `scripts.analyse`, and what an experiment for a sweep brings to them."""

from typing import Annotated

from pydantic import Field, model_validator

from settings.base import refuse
from settings.fractions import FractionsToSweep, count_fractions
from settings.kinds import OneOf, Whole
from settings.lists import ListOf, OneOrEach
from settings.names import ALLOCATION, ANY_PRECISION, COMPILE_MODES, SMALL_TO_LARGE
from settings.over_fractions import (
    AXES,
    Analysis,
    Grid,
    Matches,
    Orders,
    OverFractions,
    Rules,
    SamplerNames,
    Scales,
    StepCounts,
    refuse_many,
)
from settings.router import RouterChoice
from settings.types import BatchSize, Ranks, Repeats, Switch

WITHOUT_EFFECT = ("ranks", "process_per_point")


class OfExperiment(OverFractions):
    """The settings of a command that an experiment for a sweep may be given to."""

    guidance_scales: Scales | None = Field(None, description="brought by an experiment")
    samplers: SamplerNames | None = Field(None, description="brought by an experiment")
    num_steps: StepCounts | None = Field(None, description="brought by an experiment")
    orders: Orders | None = Field(None, description="brought by an experiment")
    rules: Rules | None = Field(None, description="brought by an experiment")
    routers: list[RouterChoice] | None = Field(None, description="brought by an experiment")
    matches: Matches | None = Field(None, description="brought by an experiment")
    also: list[Grid] | None = Field(None, description="brought by an experiment")
    ranks: Ranks | None = Field(None, description="brought by an experiment, without effect here")
    process_per_point: Switch = Field(False, description="brought by an experiment, without effect here")

    @model_validator(mode="after")
    def _check_brought(self) -> "OfExperiment":
        for key in (*AXES, "also"):
            if key != "fractions" and getattr(self, key) is not None:
                raise refuse(f"{key} is for scripts.sweep; this command goes through fractions alone")
        for key in WITHOUT_EFFECT:
            if self.paper is None and key in self.model_fields_set:
                raise refuse(f"{key} is for scripts.sweep; this command has no such setting")
        if self.router.kind != ALLOCATION:
            raise refuse(f"router={self.router.kind} is for scripts.sample and scripts.sweep; here are fractions")
        refuse_many(count_fractions(self.fractions, len(self.pair.denoisers)), self.fractions)
        return self


class LatencySettings(OfExperiment):
    """The settings of `scripts.latency`."""

    batch_size: BatchSize = Field(description="without effect here; batch_sizes is")
    batch_sizes: Annotated[list[int], ListOf(Whole(1, 2**16), is_distinct=True)] = Field(
        description="images at once: 8 is the paper's measure, larger ones show the throughput"
    )
    precisions: Annotated[list, ListOf(OneOrEach(ANY_PRECISION), is_distinct=True)] | None = Field(
        description="in place of precision: each of them with each of compiles"
    )
    compiles: Annotated[list[str], ListOf(OneOf(COMPILE_MODES), is_distinct=True)] | None = Field(
        description="in place of compile"
    )
    repeats: Repeats = Field(description="rounds; with 7, a shared machine put points up to 4% off the ideal line")
    analysis: Analysis | None = Field(None, description="brought by an experiment, without effect here")

    @model_validator(mode="after")
    def _check_latency(self) -> "LatencySettings":
        self.refuse_other_words("a latency measurement")
        if self.residency == "staged":
            raise refuse(
                "residency=staged loads weights anew for each batch, which is not timed here; use both or swap"
            )
        return self


class AnalyseSettings(OfExperiment):
    """The settings of `scripts.analyse`."""

    analysis: Analysis = Field(
        description="similarity of latents and predictions, spectrum of the latents, error of the stitched ones, "
        "disagreement of predictions, oracle of a fraction for each image, all schedules of ten segments"
    )
    fractions: FractionsToSweep = Field(description="for analysis=error: of the small model, as of scripts.sweep")

    @model_validator(mode="after")
    def _check_analysis(self) -> "AnalyseSettings":
        self.refuse_other_words("an analysis")
        if self.allocation.order != SMALL_TO_LARGE:
            raise refuse(
                f"an analysis gives the first steps to the small model, so allocation.order={self.allocation.order} "
                "has no meaning in it; use scripts.sweep"
            )
        return self
