"""What is trained: a module, and the loss of one batch of it. Every draw comes from the generator that is passed in."""

from typing import Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.digits_classifier import DigitsClassifier
from models.dit import DiT
from training.objective import DiffusionObjective


class Task(Protocol):
    """Something to train."""

    module: nn.Module

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The scalar loss of one random batch."""


class AutoencoderTask:
    """Reconstruct images (N, 1, 32, 32) in [-1, 1]: mean absolute error plus a light KL term on the latents."""

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
    """DiT's hybrid objective on latents drawn from the autoencoder's posterior, labels dropped for guidance."""

    def __init__(self, module: DiT, objective: DiffusionObjective, mean: Tensor, std: Tensor, labels: Tensor):
        self.module, self.objective = module, objective
        self.mean, self.std, self.labels = mean, std, labels

    def loss(self, batch_size: int, generator: torch.Generator) -> Tensor:
        config = self.module.config
        indices = _random_indices(len(self.mean), batch_size, generator)
        mean = self.mean[indices]
        latents = mean + self.std[indices] * torch.randn(mean.shape, generator=generator)
        dropped = torch.rand(batch_size, generator=generator) < config.class_dropout_prob
        labels = torch.where(dropped, config.num_classes, self.labels[indices])
        return self.objective(lambda x, t: self.module(x, t, labels), latents, generator)


def _random_indices(num: int, batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(num, (batch_size,), generator=generator)
