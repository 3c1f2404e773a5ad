"""The sampling loop: walk the steps, span by span, one denoiser for each."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from tstitch.allocation import Allocation
from tstitch.denoiser import Denoiser, Prediction
from tstitch.solvers.steps import Solver, Step, StepNoise

HISTORIES = ("keep", "reset")


@dataclass(frozen=True)
class StepResult:
    """What the callback sees after a step: the step, the index of its denoiser, the latents it gave."""

    step: Step
    denoiser: int
    latents: Tensor


@dataclass(frozen=True)
class Span:
    """Consecutive steps `start` to `stop - 1` that one denoiser takes."""

    denoiser: int
    start: int
    stop: int


@dataclass(frozen=True)
class Rest:
    """A place between two steps of a walk, with what a multistep solver remembers there."""

    position: int
    latents: Tensor
    take_step: Solver


def spans(allocation: Allocation) -> list[Span]:
    """The allocation as spans, in order: two for small to large, one for each step where they alternate."""
    starts = [k for k, index in enumerate(allocation) if k == 0 or index != allocation[k - 1]]
    return [
        Span(allocation[start], start, stop) for start, stop in zip(starts, [*starts[1:], len(allocation)], strict=True)
    ]


class Walk:
    """Latents on their way along `steps`: they may rest between two spans, and the result is the same.

    What a multistep solver remembers rests with them, so that another denoiser can be loaded meanwhile.

    Args:
        solver: makes the solver of this trajectory; see `tstitch.solvers.steps`.
        steps: from `trajectory_steps`.
        latents: start noise (N, C, H, W), float32.
        condition: (N, ...), passed to the denoisers as it is; it must not change on the way.
        noise: from a step's index to its Gaussian noise, in the shape of `latents`; asked only by solvers that add it.
        callback: called once after each step, for previews, timing and traces.
        history: what a multistep solver does at a switch of denoisers: `keep` its earlier
            predictions, or `reset` and start anew.
    """

    def __init__(
        self,
        solver: Callable[[], Solver],
        steps: Sequence[Step],
        latents: Tensor,
        condition: Tensor,
        noise: StepNoise,
        callback: Callable[[StepResult], None] | None = None,
        history: str = "keep",
    ):
        self.solver, self.steps, self.latents, self.condition = solver, steps, latents, condition
        self.noise, self.callback, self.history = noise, callback, history
        self.position, self.take_step = 0, solver()

    def rest(self) -> Rest:
        """Where the walk is, for others from the same noise to go on from."""
        return Rest(self.position, self.latents, deepcopy(self.take_step))

    def resume(self, rest: Rest) -> None:
        """Go on from where another walk along the same steps was."""
        self.position, self.latents, self.take_step = rest.position, rest.latents, deepcopy(rest.take_step)

    @torch.inference_mode()
    def advance(self, denoiser: Denoiser, span: Span) -> None:
        """Take the steps of the next span that are not taken yet. Nothing here waits for the device."""
        assert span.start <= self.position <= span.stop, "spans are taken in order"
        if self.history == "reset" and span.start > 0:
            self.take_step = self.solver()

        def predict(x: Tensor, timestep: int) -> Prediction:
            return denoiser(x, torch.full((len(x),), timestep, device=x.device), self.condition)

        for step in self.steps[self.position : span.stop]:
            self.latents = self.take_step(predict, self.latents, step, self.noise)
            if self.callback is not None:
                self.callback(StepResult(step, span.denoiser, self.latents))
        self.position = span.stop


def sample(
    denoisers: Sequence[Denoiser | None],
    allocation: Allocation,
    solver: Callable[[], Solver],
    steps: Sequence[Step],
    latents: Tensor,
    condition: Tensor,
    noise: StepNoise,
    callback: Callable[[StepResult], None] | None = None,
    history: str = "keep",
) -> Tensor:
    """Denoise `latents` along `steps`, from the first to the last.

    Args:
        denoisers: small to large; one that the allocation does not use may be None.
        allocation: an index into `denoisers` for each step.
        solver, steps, latents, condition, noise, callback, history: see `Walk`.

    Returns:
        The clean latents (N, C, H, W), float32.
    """
    assert len(allocation) == len(steps), "one allocation entry per step"
    walk = Walk(solver, steps, latents, condition, noise, callback, history)
    for span in spans(allocation):
        walk.advance(denoisers[span.denoiser], span)
    return walk.latents
