"""Training tasks: a module, and the loss of one batch of it. Every draw comes from the generator that is passed in."""

from collections.abc import Callable
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from training.latents import Latents
from training.objective import ALL, DiffusionObjective


class Task(Protocol):
    """Something to train."""

    module: nn.Module

    def loss(self, batch_size: int, generator: torch.Generator, share: slice = ALL) -> Tensor:
        """Compute the scalar mean loss of the `share` of one random batch.

        Everything is drawn for the whole batch, on the device of `generator`, which the data are on: several processes
        that take a share each see the batch that one would.
        """


class AutoencoderTask:
    """Reconstruction of images (N, 1, 32, 32) in [-1, 1]: mean absolute error plus a light KL term on the latents.

    `perceptual` is a further distance of images from their decoded selves, (N, 1, 32, 32) twice to a scalar.
    """

    def __init__(
        self,
        module: AutoencoderKL,
        images: Tensor,
        kl_weight: float,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        self.module, self.images, self.kl_weight, self.perceptual = module, images, kl_weight, perceptual

    def loss(self, batch_size: int, generator: torch.Generator, share: slice = ALL) -> Tensor:
        images = self.images[random_indices(len(self.images), batch_size, generator)[share]]
        posterior = self.module.encode(images).latent_dist
        shape = (batch_size, *posterior.mean.shape[1:])
        noise = torch.randn(shape, generator=generator, device=generator.device)[share]
        decoded = self.module.decode(posterior.mean + posterior.std * noise).sample.float()
        loss = F.l1_loss(decoded, images) + self.kl_weight * posterior.kl().mean()
        return loss if self.perceptual is None else loss + self.perceptual(images, decoded)


class ClassifierTask:
    """Cross-entropy on images moved by up to two pixels."""

    def __init__(self, module: nn.Module, images: Tensor, labels: Tensor):
        self.module, self.images, self.labels = module, images, labels

    def loss(self, batch_size: int, generator: torch.Generator, share: slice = ALL) -> Tensor:
        indices = random_indices(len(self.images), batch_size, generator)[share]
        rows, columns = torch.randint(-2, 3, (2,), generator=generator, device=generator.device).tolist()
        images = self.images[indices].roll((rows, columns), dims=(2, 3))
        return F.cross_entropy(self.module(images)[1].float(), self.labels[indices])


class DenoiserTask:
    """Denoising of latents drawn from the autoencoder's posterior; labels are dropped for guidance.

    `forward(latents, timestep, labels)` runs `module`; the label `num_classes` means none.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[[Tensor, Tensor, Tensor], Tensor],
        objective: DiffusionObjective,
        data: Latents,
        class_dropout_prob: float,
    ):
        self.module, self.forward, self.objective = module, forward, objective
        self.data, self.class_dropout_prob = data, class_dropout_prob

    def loss(self, batch_size: int, generator: torch.Generator, share: slice = ALL) -> Tensor:
        latents, labels = self.draw(batch_size, generator)
        return self.objective(lambda x, t: self.forward(x, t, labels[share]), latents, generator, share)

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw clean latents (batch_size, C, h, w) and their labels (batch_size,), some of them dropped."""
        data, device = self.data, generator.device
        mean, std, labels = data.take(random_indices(len(data), batch_size, generator))
        latents = mean + std * torch.randn(mean.shape, generator=generator, device=device)
        dropped = torch.rand(batch_size, generator=generator, device=device) < self.class_dropout_prob
        return latents, torch.where(dropped, data.num_classes, labels)


def random_indices(num: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Draw positions (batch_size,) of `num` images."""
    return torch.randint(num, (batch_size,), generator=generator, device=generator.device)
