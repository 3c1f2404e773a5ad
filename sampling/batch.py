"""One batch of class-conditional images: noise and networks in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.autoencoder import decode, decode_in_parallel
from tstitch.convention import MatchedDenoiser
from tstitch.errors import UserError
from tstitch.guidance import ConditionedDenoiser, GuidedDenoiser
from tstitch.images import to_uint8
from tstitch.noise import ImageNoise
from tstitch.router import Ledger, Router
from tstitch.runs.timing import StageClock, StepTimer
from tstitch.sample import StepResult, sample
from tstitch.solvers.steps import trajectory_steps
from tstitch.transfer import to_device, to_host

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

    from models.denoisers import ClassConditionalDenoiser
    from models.placement.residency import Residency
    from sampling.plan import Plan


@dataclass(frozen=True)
class ConditionedNetworks:
    """The networks of a plan, guided, with the labels (N,) of one batch: what `tstitch.sample.sample` asks."""

    plan: Plan
    networks: Residency
    noise: ImageNoise
    labels: Tensor
    clock: StageClock

    @contextmanager
    def use(self, models: Sequence[int]) -> Iterator[Mapping[int, ConditionedDenoiser]]:
        """Hold models in memory. Nothing of them is kept after the context, so that they can be let go."""
        with self.networks.use(models) as denoisers:
            self.clock.start()
            conditioned = {model: self._condition(denoisers[model], model) for model in models}
            try:
                yield conditioned
            finally:
                conditioned.clear()

    def _condition(self, denoiser: ClassConditionalDenoiser, index: int) -> ConditionedDenoiser | MatchedDenoiser:
        guided = GuidedDenoiser(
            denoiser,
            self.plan.scales[index],
            self.plan.channels[index],
            unconditional=partial(denoiser.unconditional, noise=self.noise, index=index),
            conditional=denoiser.conditional,
        )
        conditioned, convention = guided.prepare(self.labels), self.plan.conventions[index]
        return conditioned if convention is None else MatchedDenoiser(conditioned, convention, self.plan.schedule)


@dataclass(frozen=True)
class PendingBatch:
    """A batch that may still be at work on a GPU.

    Attributes:
        labels: (N,) int64, on the host.
        decisions: what each image decided, by name (N, ...), on the host; empty where the router decides.
        wait: waits for the images (N, H, W, 3) uint8, and for whether each is finite (N,).
    """

    plan: Plan
    networks: Residency
    noise: ImageNoise
    labels: Tensor
    decisions: Mapping[str, Tensor]
    wait: Callable[[], list[Tensor]]
    device: torch.device

    def finish(self, num_images: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Wait for the batch; return images, labels and decisions of its first `num_images`; others only fill it.

        Raises:
            UserError: an image has NaN or Inf in latents or pixels. A second pass finds the step.
        """
        images, is_finite = (values[:num_images] for values in self.wait())
        broken = (~is_finite).nonzero().flatten().tolist()
        if broken:
            raise UserError(self._describe_broken(broken))
        decisions = {name: values[:num_images] for name, values in self.decisions.items()}
        return images, self.labels[:num_images], decisions

    def _describe_broken(self, positions: Sequence[int]) -> str:
        first = positions[0]
        step = self._find_steps().get(first, "the autoencoder")
        more = f" (and {len(positions) - 1} more of its batch)" if len(positions) > 1 else ""
        advice = f"; try {remedy}" if (remedy := self.plan.in_float32) else ""
        label = int(self.labels[first])
        return f"image {self.noise.indices[first]} (label {label}) has NaN or Inf after {step}{more}{advice}"

    def _find_steps(self) -> dict[int, str]:
        """Sample once more, and find for each image that breaks the step after which it is broken."""
        steps: dict[int, str] = {}

        def look(done: StepResult) -> None:
            step = f"solver step {done.step.index} (t = {done.step.timestep}) of {self.plan.names[done.model]}"
            for position in (~_is_finite(done.latents)).nonzero().flatten().tolist():
                steps.setdefault(position, step)

        sample_latents(self.plan, self.plan.router, self.networks, self.noise, self.device, look)
        return steps


def sample_images(
    plan: Plan, networks: Residency, indices: Sequence[int], device: torch.device, clock: StageClock | None = None
) -> tuple[Tensor, Tensor]:
    """Sample the images of `indices`: bytes (N, H, W, 3) and labels (N,), both on the host.

    Raises:
        UserError: NaN or Inf in latents or pixels; names the image and the step.
    """
    images, labels, _ = start_batch(plan, networks, indices, device, clock or StageClock(device)).finish(len(indices))
    return images, labels


def start_batch(
    plan: Plan,
    networks: Residency,
    indices: Sequence[int],
    device: torch.device,
    clock: StageClock,
    ledger: Ledger | None = None,
) -> PendingBatch:
    """Sample the images of `indices`; nothing waits for a GPU, until `PendingBatch.finish` does.

    Args:
        clock: gets a stage for each denoiser, by its name, and `autoencoder`.
        ledger: gets the evaluations of each denoiser.
    """
    noise = ImageNoise(plan.seed, indices)
    timer, ledger = StepTimer(clock, plan.names), Ledger() if ledger is None else ledger
    ledger.decisions.clear()
    latents = sample_latents(plan, plan.router, networks, noise, device, timer, clock, ledger)
    decisions = dict(ledger.decisions)
    with networks.use_autoencoder() as autoencoder, torch.inference_mode():
        clock.start()
        pixels = _decode(plan, autoencoder, latents)
        # Both are looked at, because a quantising autoencoder hides what is not finite.
        wait = to_host(to_uint8(pixels), _is_finite(latents) & _is_finite(pixels))
        clock.mark("autoencoder")
    return PendingBatch(plan, networks, noise, draw_labels(plan, noise), decisions, wait, device)


def sample_latents(
    plan: Plan,
    router: Router,
    networks: Residency,
    noise: ImageNoise,
    device: torch.device,
    callback: Callable[[StepResult], None] | None = None,
    clock: StageClock | None = None,
    ledger: Ledger | None = None,
) -> Tensor:
    """Sample the clean latents (N, C, H, W) float32 of the images of `noise`, on the device, with any router."""
    labels = to_device(draw_labels(plan, noise), device)
    return sample(
        router,
        ConditionedNetworks(plan, networks, noise, labels, clock or StageClock(device)),
        plan.solver,
        trajectory_steps(plan.schedule, plan.timesteps),
        to_device(noise.latents(plan.latent_shape), device),
        noise,
        plan.history,
        callback,
        ledger,
    )


def draw_labels(plan: Plan, noise: ImageNoise) -> Tensor:
    """Class labels (N,), int64: drawn for each image, or in turn."""
    num_classes = plan.specs[0].config.num_classes
    if plan.labels == "balanced":
        return torch.tensor([index % num_classes for index in noise.indices])
    return noise.labels(num_classes)


def _decode(plan: Plan, autoencoder: AutoencoderKL | VQModel, latents: Tensor) -> Tensor:
    if latents.device.type == "cpu":
        return decode_in_parallel(autoencoder, latents, plan.autoencoder.downsampling)
    return decode(autoencoder, latents)


def _is_finite(values: Tensor) -> Tensor:
    """Tell whether each of the batch (N,) is free of NaN and Inf."""
    return values.flatten(1).isfinite().all(dim=1)
