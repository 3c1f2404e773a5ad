"""Networks and noise of one batch for the sampling loop, from what a test has at hand."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from tstitch.denoiser import Denoiser
from tstitch.guidance import ConditionedDenoiser, GuidedDenoiser


class InMemory:
    """Denoisers, guided or not, that are all in memory; those that are not used may be None."""

    def __init__(self, denoisers: Sequence[Denoiser | GuidedDenoiser | None], condition: Tensor):
        self.conditioned = [
            each.prepare(condition) if isinstance(each, GuidedDenoiser) else ConditionedDenoiser(each, condition)
            for each in denoisers
        ]
        self.used: list[tuple[int, ...]] = []

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ConditionedDenoiser]]:
        self.used.append(tuple(models))
        return nullcontext({model: self.conditioned[model] for model in models})


class GivenNoise:
    """The noise of each step from a function of its index."""

    def __init__(self, draw: Callable[[int], Tensor]):
        self.draw = draw

    def step(self, index: int, shape: Sequence[int]) -> Tensor:
        return self.draw(index)
