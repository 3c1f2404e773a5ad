"""Routers: which models predict at each solver step, and how their predictions become one.

A router is asked once per solver step. T-Stitch's allocation (paper, section 3.2) is the simplest one: a model for
each step, known before the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Protocol

from torch import Tensor

from tstitch.allocation import Allocation, describe_allocation
from tstitch.denoiser import Prediction, Region
from tstitch.noise import ImageNoise
from tstitch.solvers.steps import Predict, Step


@dataclass(frozen=True)
class Stage:
    """Solver steps `start` to `stop - 1`, and the models that must be in memory for them."""

    models: tuple[int, ...]
    start: int
    stop: int


class Ask(Protocol):
    """The guided prediction of one model; each call is charged to the ledger."""

    def __call__(
        self, model: int, latents: Tensor, timestep: int, rows: Tensor | None = None, region: Region | None = None
    ) -> Prediction:
        """Predict for latents (N, C, H, W) float32 of the whole batch, or (M, C, H, W) of some of its images.

        Args:
            model: index into the pair's denoisers, small to large.
            rows: (M,) int64, the positions of those images in the batch.
            region: of the latents of the whole batch, where a part is enough.
        """


class Route(Protocol):
    """A router at work on one batch; it may remember what it saw."""

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        """The decisions of each image so far, by name: tensors (N, ...) on the host."""

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        """Say what predicts in a solver step that begins at `latents` (N, C, H, W) float32.

        The solver calls it with those latents first, and a solver of second order then with others.
        """


class Router(Protocol):
    """A rule for who predicts at each step. It never changes; what it remembers of a batch is in a route."""

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        """Cut the steps into stages: in order, without gaps, from the first step to the last."""

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> Route:
        """Make the route of one batch along `steps`; it may draw from the noise of its images."""

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        """Say in a line who predicts where, as far as that is known before the run."""

    def identity(self) -> dict:
        """Describe everything that decides who predicts, as JSON; it is part of a run's identity."""


@dataclass(frozen=True)
class AllocationRouter:
    """One model per solver step, known before the run.

    Attributes:
        allocation: an index into the pair's denoisers for each step.
    """

    allocation: Allocation

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        """Give each run of equal indices a stage: two for small to large, one for each step where models alternate."""
        assert len(self.allocation) == len(steps), "one allocation entry per step"
        stages, start = [], 0
        for model, group in groupby(self.allocation):
            stop = start + len(list(group))
            stages.append(Stage((model,), start, stop))
            start = stop
        return tuple(stages)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> Route:
        return AllocationRoute(self.allocation)

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        return describe_allocation(self.allocation, [step.timestep for step in steps], names)

    def identity(self) -> dict:
        return {"allocation": list(self.allocation)}


@dataclass(frozen=True)
class AllocationRoute:
    """Nothing to remember, and nothing that an image decides."""

    allocation: Allocation

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        return partial(ask, self.allocation[step.index])


@dataclass
class Ledger:
    """Evaluations of each model: calls of it, and images that its network evaluated (guidance counts them twice).

    `decisions` are what each image decided, by name: tensors (N, ...) on the host, in the order of the images. Where
    a router decides by image, `evaluations` (N, models) among them are those of each image.
    """

    calls: dict[int, int] = field(default_factory=dict)
    evaluations: dict[int, float] = field(default_factory=dict)
    decisions: dict[str, Tensor] = field(default_factory=dict)

    def charge(self, model: int, num_evaluations: float) -> None:
        """Add one call of a model that evaluated its network for `num_evaluations` images, or for parts of them."""
        self.calls[model] = self.calls.get(model, 0) + 1
        self.evaluations[model] = self.evaluations.get(model, 0) + num_evaluations
