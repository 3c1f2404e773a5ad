"""Training tasks: a module, and the loss of one batch of it. Every draw comes from the generator that is passed in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.metrics.digits_classifier import DigitsClassifier
from training.objective import DiffusionObjective


class Task(Protocol):
    """Something to train."""

    module: nn.Module

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Compute the scalar loss of one random batch."""


@dataclass(frozen=True)
class LatentDigits:
    """Mean and deviation (N, C, h, w) of each image's scaled latents, and the labels (N,)."""

    mean: Tensor
    std: Tensor
    labels: Tensor
    num_classes: int


class AutoencoderTask:
    """Reconstruction of images (N, 1, 32, 32) in [-1, 1]: mean absolute error plus a light KL term on the latents."""

    def __init__(self, module: AutoencoderKL, images: Tensor, kl_weight: float):
        self.module, self.images, self.kl_weight = module, images, kl_weight

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        images = self.images[_random_indices(len(self.images), batch_size, generator)]
        posterior = self.module.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = self.module.decode(posterior.mean + posterior.std * noise).sample
        return F.l1_loss(decoded.float(), images) + self.kl_weight * posterior.kl().mean()


class ClassifierTask:
    """Cross-entropy on digits moved by up to two pixels."""

    def __init__(self, module: DigitsClassifier, images: Tensor, labels: Tensor):
        self.module, self.images, self.labels = module, images, labels

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        indices = _random_indices(len(self.images), batch_size, generator)
        rows, columns = torch.randint(-2, 3, (2,), generator=generator).tolist()
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
        digits: LatentDigits,
        class_dropout_prob: float,
    ):
        self.module, self.forward, self.objective = module, forward, objective
        self.digits, self.class_dropout_prob = digits, class_dropout_prob

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        digits = self.digits
        indices = _random_indices(len(digits.mean), batch_size, generator)
        mean = digits.mean[indices]
        latents = mean + digits.std[indices] * torch.randn(mean.shape, generator=generator)
        dropped = torch.rand(batch_size, generator=generator) < self.class_dropout_prob
        labels = torch.where(dropped, digits.num_classes, digits.labels[indices])
        return self.objective(lambda x, t: self.forward(x, t, labels), latents, generator)


def _random_indices(num: int, batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(num, (batch_size,), generator=generator)
