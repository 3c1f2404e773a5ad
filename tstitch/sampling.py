"""The sampling loop: walk the steps, one denoiser per step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tstitch.allocation import Allocation
from tstitch.denoiser import Denoiser, Prediction
from tstitch.solvers import Solver, Step, StepNoise

HISTORIES = ("keep", "reset")


@dataclass(frozen=True)
class StepResult:
    """What the callback sees after a step: the step, the index of its denoiser, the latents it gave."""

    step: Step
    denoiser: int
    latents: Tensor


@torch.inference_mode()
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
    """Denoise `latents` along `steps`.

    Args:
        denoisers: small to large; one that the allocation does not use may be None.
        allocation: an index into `denoisers` for each step.
        solver: makes the solver of this trajectory; see `tstitch.solvers`.
        steps: from `trajectory_steps`, as many as the allocation has entries.
        latents: start noise (N, C, H, W), float32.
        condition: (N, ...), passed to the denoisers as it is.
        noise: from a step's index to its Gaussian noise, in the shape of `latents`.
        callback: called once after each step, for previews, timing and traces.
        history: what a multistep solver does at a switch of denoisers: `keep` its earlier
            predictions, or `reset` and start anew.

    Returns:
        The clean latents (N, C, H, W), float32.
    """
    assert len(allocation) == len(steps), "one allocation entry per step"
    take_step = solver()
    for step, index in zip(steps, allocation, strict=True):
        denoiser = denoisers[index]
        if history == "reset" and step.index > 0 and index != allocation[step.index - 1]:
            take_step = solver()

        def predict(x: Tensor, timestep: int, denoiser: Denoiser = denoiser) -> Prediction:
            return denoiser(x, torch.full((len(x),), timestep, device=x.device), condition)

        latents = take_step(predict, latents, step, noise)
        if callback is not None:
            callback(StepResult(step, index, latents))
    return latents
