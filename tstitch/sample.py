"""The sampling loop: the only place where one model takes over from another."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from tstitch.denoiser import Prediction, Region
from tstitch.guidance import ConditionedDenoiser
from tstitch.noise import ImageNoise
from tstitch.router import Ledger, Router
from tstitch.solvers.steps import Solver, Step
from tstitch.transfer import to_device


@dataclass(frozen=True)
class StepResult:
    """A solver step that was taken, for previews, timing and traces.

    Attributes:
        step: the step.
        predictions: each model that was asked and what it predicted, in the order of the calls.
        latents: (N, C, H, W) float32, after the step.
    """

    step: Step
    predictions: Sequence[tuple[int, Prediction]]
    latents: Tensor

    @property
    def model(self) -> int:
        """The model that was asked last."""
        return self.predictions[-1][0]


class BatchNetworks(Protocol):
    """The networks of a pair, conditioned on one batch of images."""

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ConditionedDenoiser]]:
        """Hold the models of a stage in memory while the context is open."""


@dataclass
class _Asking:
    """`Ask` for one stage: calls the models in memory, charges the ledger, keeps what the current step predicted."""

    models: Mapping[int, ConditionedDenoiser]
    ledger: Ledger
    by_image: dict[int, Tensor]
    predictions: list[tuple[int, Prediction]] = field(default_factory=list)

    def __call__(
        self, model: int, latents: Tensor, timestep: int, rows: Tensor | None = None, region: Region | None = None
    ) -> Prediction:
        denoiser = self.models[model]
        prediction = denoiser(latents, timestep, rows, region)
        self.ledger.charge(model, len(latents) * denoiser.evaluations_per_image * denoiser.share_of(region))
        self.by_image[model][slice(None) if rows is None else rows] += denoiser.evaluations_per_image
        self.predictions.append((model, prediction))
        return prediction


@torch.inference_mode()
def sample(
    router: Router,
    networks: BatchNetworks,
    solver: Callable[[], Solver],
    steps: Sequence[Step],
    latents: Tensor,
    noise: ImageNoise,
    history: str = "keep",
    callback: Callable[[StepResult], None] | None = None,
    ledger: Ledger | None = None,
) -> Tensor:
    """Denoise a batch along `steps`, from the first to the last. Nothing here waits for the device.

    Args:
        router: says which models predict at each step.
        networks: the models, by index.
        solver: makes the solver of a trajectory; see `tstitch.solvers`.
        steps: from `trajectory_steps`.
        latents: start noise (N, C, H, W), float32.
        noise: of the same images; solvers that add noise and routers draw from it.
        history: what a multistep solver does where a stage begins: `keep` its earlier predictions, or `reset` them.
        callback: called once after each step.
        ledger: gets the evaluations of each model, and what the images of this batch decided.

    Returns:
        The clean latents (N, C, H, W), float32.
    """
    ledger = Ledger() if ledger is None else ledger
    route, take_step, shape = router.start(noise, steps), solver(), latents.shape[1:]

    def step_noise(index: int) -> Tensor:
        return to_device(noise.step(index, shape), latents.device)

    stages = router.stages(steps)
    used = sorted({model for stage in stages for model in stage.models})
    by_image = {model: torch.zeros(len(latents), dtype=torch.int64, device=latents.device) for model in used}
    for stage in stages:
        with networks.use(stage.models) as models:
            ask = _Asking(models, ledger, by_image)
            if history == "reset" and stage.start > 0:
                take_step = solver()
            for step in steps[stage.start : stage.stop]:
                predict = route(step, latents, ask)  # which models predict here
                latents = take_step(predict, latents, step, step_noise)
                if callback is not None:
                    callback(StepResult(step, tuple(ask.predictions), latents))
                ask.predictions.clear()
    if route.decisions:
        counts = torch.zeros(len(latents), used[-1] + 1, dtype=torch.int64)
        counts[:, used] = torch.stack([by_image[model] for model in used], dim=1).cpu()
        ledger.decisions |= {**route.decisions, "evaluations": counts}
    return latents
