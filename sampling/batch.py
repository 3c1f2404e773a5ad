"""A plan at work on a batch of images: noise and networks in, bytes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.autoencoder import decode, decode_in_parallel
from sampling.plan import Plan
from sampling.starts import Starts
from tstitch.errors import UserError
from tstitch.guidance import GuidedDenoiser
from tstitch.images import to_uint8
from tstitch.noise import ImageNoise
from tstitch.runs.timing import StageClock
from tstitch.sampling import Span, StepResult, Walk, spans
from tstitch.solvers.steps import trajectory_steps
from tstitch.transfer import to_device, to_host

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

    from models.denoisers import ClassConditionalDenoiser
    from models.placement.residency import Residency


Finish = Callable[[int], tuple[Tensor, Tensor]]  # from the number of images that are wanted to their bytes and labels


@dataclass(frozen=True)
class BrokenImage:
    """An image with NaN or Inf: where in the batch, which one, and where on its way it broke."""

    position: int
    index: int
    label: int
    place: str

    def __str__(self) -> str:
        return f"image {self.index} (label {self.label}) has NaN or Inf after {self.place}"


class BrokenImages(UserError):
    """Some images of a batch have NaN or Inf; `sampled` is the batch as `sample_images` would return it."""

    def __init__(self, images: list[BrokenImage], sampled: tuple[Tensor, Tensor]):
        more = f" (and {len(images) - 1} more of its batch)" if len(images) > 1 else ""
        super().__init__(
            f"{images[0]}{more}; in a lower precision, on_nonfinite=float32 samples such images in float32"
        )
        self.images, self.sampled = images, sampled


@dataclass
class Batch:
    """Images on their way from noise to bytes."""

    noise: ImageNoise
    labels: Tensor
    walk: Walk


def sample_images(
    plan: Plan, networks: Residency, indices: Sequence[int], device: torch.device, clock: StageClock | None = None
) -> tuple[Tensor, Tensor]:
    """Sample the images of `indices`: bytes (N, H, W, 3) and labels (N,), both on the CPU.

    Raises:
        BrokenImages: NaN or Inf in latents or pixels. It is looked for once, at the end, and traced to
            its step by a second pass.
    """
    [finish] = start_images(plan, networks, [indices], device, clock or StageClock(device))
    return finish(len(indices))


def start_images(
    plan: Plan,
    networks: Residency,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    clock: StageClock,
    starts: Starts | None = None,
) -> Iterator[Finish]:
    """Sample batches together: each denoiser takes its part of all of them before the next one is used.

    Yields, for each batch, what waits for the bytes of its first images and gives them as `sample_images` does. Until
    then nothing waits for a GPU.

    Args:
        starts: those of earlier points of the same sweep, which this one adds to.
    """

    def mark(done: StepResult) -> None:
        clock.mark(plan.names[done.denoiser])

    started = deque(start_batch(plan, indices, device, mark) for indices in batches)
    if starts is not None:
        for batch in started:
            starts.resume(plan, batch.noise.indices, batch.walk)
    for span in spans(plan.allocation):
        _advance(plan, networks, started, span, clock)
        if starts is not None and span.start == 0:
            for batch in started:
                starts.keep(plan, batch.noise.indices, batch.walk)
    with networks.use_autoencoder() as autoencoder:
        while started:
            batch = started.popleft()
            clock.start()
            with torch.inference_mode():
                latents = batch.walk.latents
                pixels = _decode(plan, autoencoder, latents)
                # Both are looked at, because a quantising autoencoder hides what is not finite.
                sampled = to_host(to_uint8(pixels), _is_finite(latents) & _is_finite(pixels))
            clock.mark("autoencoder")
            yield partial(_finish, plan, networks, batch.noise, batch.labels, sampled, device)


def start_batch(
    plan: Plan, indices: Sequence[int], device: torch.device, callback: Callable[[StepResult], None]
) -> Batch:
    """The images of `indices` before the first step."""
    noise = ImageNoise(plan.seed, indices)
    labels = draw_labels(plan, noise)
    shape = latent_shape(plan)
    walk = Walk(
        plan.solver,
        trajectory_steps(plan.schedule, plan.timesteps),
        to_device(noise.latents(shape), device),
        to_device(labels, device),
        noise=lambda index: to_device(noise.step(index, shape), device),
        callback=callback,
        history=plan.history,
    )
    return Batch(noise, labels, walk)


def _advance(plan: Plan, networks: Residency, batches: Iterable[Batch], span: Span, clock: StageClock) -> None:
    """Take a span of all batches. Nothing here outlives the call, so the denoiser can be let go after it."""
    with networks.use(span.denoiser) as denoiser:
        clock.start()
        for batch in batches:
            batch.walk.advance(guide(plan, denoiser, span.denoiser, batch.noise), span)


def _finish(
    plan: Plan,
    networks: Residency,
    noise: ImageNoise,
    labels: Tensor,
    sampled: Callable[[], list[Tensor]],
    device: torch.device,
    num_images: int,
) -> tuple[Tensor, Tensor]:
    """Wait for a batch, and give the first `num_images` of it: those after them only fill it, broken or not."""
    images, is_finite = (values[:num_images] for values in sampled())
    labels = labels[:num_images]
    broken = (~is_finite).nonzero().flatten().tolist()
    if broken:
        places = _trace(plan, networks, noise.indices, device)
        found = [BrokenImage(i, noise.indices[i], int(labels[i]), places.get(i, "the autoencoder")) for i in broken]
        raise BrokenImages(found, (images, labels))
    return images, labels


def draw_labels(plan: Plan, noise: ImageNoise) -> Tensor:
    """Class labels (N,), int64: drawn for each image, or in turn."""
    num_classes = plan.specs[0].config.num_classes
    if plan.labels == "balanced":
        return torch.tensor([index % num_classes for index in noise.indices])
    return noise.labels(num_classes)


def latent_shape(plan: Plan) -> tuple[int, int, int]:
    """The shape (C, H, W) of an image's latents."""
    config = plan.specs[0].config
    return config.in_channels, config.input_size, config.input_size


def guide(plan: Plan, denoiser: ClassConditionalDenoiser, index: int, noise: ImageNoise) -> GuidedDenoiser:
    """The denoiser at `index` with its guidance, for the images of `noise`."""
    return GuidedDenoiser(
        denoiser,
        plan.scales[index],
        plan.channels,
        unconditional=partial(denoiser.unconditional, noise=noise, index=index),
        conditional=denoiser.conditional,
    )


def _trace(plan: Plan, networks: Residency, indices: Sequence[int], device: torch.device) -> dict[int, str]:
    """Sample once more, and say for each image that breaks in which step."""
    places: dict[int, str] = {}

    def look(done: StepResult) -> None:
        step = f"solver step {done.step.index} (t = {done.step.timestep}) of {plan.names[done.denoiser]}"
        for position in (~_is_finite(done.latents)).nonzero().flatten().tolist():
            places.setdefault(position, step)

    batch = start_batch(plan, indices, device, look)
    for span in spans(plan.allocation):
        _advance(plan, networks, [batch], span, StageClock(device))
    return places


def _decode(plan: Plan, autoencoder: AutoencoderKL | VQModel, latents: Tensor) -> Tensor:
    if latents.device.type == "cpu":
        return decode_in_parallel(autoencoder, latents, plan.autoencoder.downsampling)
    return decode(autoencoder, latents)


def _is_finite(values: Tensor) -> Tensor:
    """Whether each of the batch (N,) is free of NaN and Inf."""
    return values.flatten(1).isfinite().all(dim=1)
