"""A plan at work on a batch of images: noise and networks in, bytes out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.autoencoder import decode
from models.pair import Pair
from scripts.plan import Plan
from tstitch.denoiser import Denoiser
from tstitch.errors import UserError
from tstitch.guidance import GuidedDenoiser
from tstitch.images import to_uint8
from tstitch.noise import ImageNoise
from tstitch.sampling import StepResult, sample
from tstitch.solvers import trajectory_steps
from tstitch.timing import StageClock


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


def sample_images(
    plan: Plan, pair: Pair, indices: Sequence[int], device: torch.device, clock: StageClock | None = None
) -> tuple[Tensor, Tensor]:
    """Sample the images of `indices`: bytes (N, H, W, 3) and labels (N,), both on the CPU.

    Raises:
        BrokenImages: NaN or Inf in latents or pixels. It is looked for once, at the end, and traced to
            its step by a second pass.
    """
    clock = clock or StageClock(device)
    clock.start()
    noise = ImageNoise(plan.seed, indices)
    labels = draw_labels(plan, noise)
    denoisers = guided_denoisers(plan, pair, noise)
    latents = denoise(plan, denoisers, noise, labels, device, lambda done: clock.mark(plan.names[done.denoiser]))
    with torch.inference_mode(), _one_thread(device):
        pixels = decode(pair.autoencoder, latents)
        broken = sorted({*_broken(latents), *_broken(pixels)})  # a quantising autoencoder hides what is not finite
        images = to_uint8(pixels).cpu()
    clock.mark("autoencoder")
    if broken:
        places = _trace(plan, pair, noise, labels, device)
        found = [BrokenImage(i, indices[i], int(labels[i]), places.get(i, "the autoencoder")) for i in broken]
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


def denoise(
    plan: Plan,
    denoisers: Sequence[Denoiser | None],
    noise: ImageNoise,
    labels: Tensor,
    device: torch.device,
    callback: Callable[[StepResult], None],
) -> Tensor:
    """Walk the plan's trajectory for the images of `noise`; latents (N, C, H, W), float32."""
    shape = latent_shape(plan)
    return sample(
        denoisers,
        plan.allocation,
        plan.solver,
        trajectory_steps(plan.schedule, plan.timesteps),
        noise.latents(shape).to(device),
        labels.to(device),
        noise=lambda index: noise.step(index, shape).to(device),
        callback=callback,
        history=plan.history,
    )


def guided_denoisers(plan: Plan, pair: Pair, noise: ImageNoise) -> list[GuidedDenoiser | None]:
    """The pair's denoisers with their guidance; None for one that is not loaded."""
    return [
        denoiser
        and GuidedDenoiser(
            denoiser,
            scale,
            plan.channels,
            unconditional=partial(denoiser.unconditional, noise=noise, index=i),
            conditional=denoiser.conditional,
        )
        for i, (denoiser, scale) in enumerate(zip(pair.denoisers, plan.scales, strict=True))
    ]


def _trace(plan: Plan, pair: Pair, noise: ImageNoise, labels: Tensor, device: torch.device) -> dict[int, str]:
    """Sample once more, and say for each image that breaks in which step."""
    places: dict[int, str] = {}

    def look(done: StepResult) -> None:
        step = f"solver step {done.step.index} (t = {done.step.timestep}) of {plan.names[done.denoiser]}"
        for position in _broken(done.latents):
            places.setdefault(position, step)

    denoise(plan, guided_denoisers(plan, pair, noise), noise, labels, device, look)
    return places


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Convolutions on a CPU round by the number of threads, so that the bytes would depend on the number of ranks."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _broken(values: Tensor) -> list[int]:
    """Positions in the batch that hold NaN or Inf."""
    return (~values.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
