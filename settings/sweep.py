"""The settings of `scripts.sweep`, whose grid of points is counted before any of them is planned."""

from collections.abc import Sequence
from math import prod
from typing import Annotated

from pydantic import Field, model_validator

from settings.base import Settings, refuse
from settings.fractions import count_fractions
from settings.kinds import OneOf
from settings.names import WANDB_MODES
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
from settings.types import BatchSize, Count, PathName, Ranks, Repeats, Seed, Switch, Words


class PointLatency(Settings):
    """How a sweep times its points."""

    batch_size: BatchSize = Field(description="images at once; 8 is the paper's measure")
    repeats: Repeats = Field(description="rounds, of which the median is reported")


class Dashboard(Settings):
    """The dashboard on Weights & Biases."""

    mode: Annotated[str, OneOf(WANDB_MODES)] = Field(description="whether results are sent, now or by make wandb-sync")
    project: Words = Field(description="of the dashboard")


class Tuning(Settings):
    """The choice of a guidance scale for each point, on images that are not those of the result."""

    guidance_scales: Scales = Field(description="to choose from")
    num_images: Count = Field(description="of each point at each scale")
    seed: Seed = Field(description="of their noise and labels, another one than the sweep's")


class Sweeping(Settings):
    """The settings that all sweeps share, besides the axes."""

    ranks: Ranks | None = Field(
        description="starts one torchrun with as many processes (GPUs) for all points; null: in this process"
    )
    process_per_point: Switch = Field(
        description="with ranks, a torchrun for each point, so that its peak memory is its own"
    )
    points: PathName | None = Field(description="where the points' runs lie; null: OUT/points, or runs/points")
    latency: PointLatency = Field(description="how points are timed")
    wandb: Dashboard = Field(description="the dashboard")

    @model_validator(mode="after")
    def _check_ranks(self) -> "Sweeping":
        if self.process_per_point and self.ranks is None:
            raise refuse("process_per_point=true is with ranks=N, which start processes; give both")
        return self


class SweepSettings(Sweeping, OverFractions):
    """The settings of `scripts.sweep`."""

    guidance_scales: Scales | None = Field(description="sweeps them too; null: guidance.scale alone")
    samplers: SamplerNames | None = Field(description="sweeps them too; null: sampler")
    num_steps: StepCounts | None = Field(description="sweeps them too; null: sampler.num_steps")
    orders: Orders | None = Field(description="sweeps them too; null: allocation.order")
    rules: Rules | None = Field(description="sweeps them too; null: allocation.rule")
    routers: list[RouterChoice] | None = Field(
        description="sweeps them too, each by its kind and what differs from its defaults; null: router"
    )
    matches: Matches | None = Field(description="sweeps them too; null: match")
    also: list[Grid] | None = Field(description=f"further grids: a list of mappings with some of {', '.join(AXES)}")
    tune: Tuning | None = Field(description="chooses the guidance scale of each point first; null: it is as given")
    analysis: Analysis | None = Field(None, description="brought by an experiment, which is then none for a sweep")

    @model_validator(mode="after")
    def _check_sweep(self) -> "SweepSettings":
        swept = [self.guidance_scales, *(grid.as_dict().get("guidance_scales") for grid in self.also or [])]
        if self.tune is not None and any(scales is not None for scales in swept):
            raise refuse("tune chooses the guidance scale of each point, so guidance_scales has no meaning with it")
        if self.tune is not None and self.tune.seed == self.seed:
            raise refuse(f"tune.seed={self.tune.seed} is the sweep's own seed; give another")
        if self.analysis is not None:
            raise refuse(f"this experiment is an analysis: python -m scripts.analyse analysis={self.analysis}")
        self.refuse_other_words("a sweep")
        if self.residency == "staged":
            raise refuse("residency=staged is for scripts.sample; a sweep times its points with all networks in memory")
        refuse_many_points(self, AXES, len(self.pair.denoisers))
        return self


def refuse_many_points(settings: Settings, axes: Sequence[str], num_denoisers: int) -> None:
    """Raise where the grids of a sweep have more points than it can be meant to go through."""
    own = {axis: getattr(settings, axis) for axis in axes}
    grids = [own, *(own | grid.model_dump(exclude_unset=True) for grid in settings.also or [])]
    refuse_many(sum(_count_points(grid, num_denoisers) for grid in grids), settings.fractions)


def _count_points(grid: dict, num_denoisers: int) -> int:
    others = prod(len(values) for axis, values in grid.items() if axis != "fractions" and values is not None)
    return others * count_fractions(grid["fractions"], num_denoisers)
