"""Adapters from networks to the denoiser contract."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from models.networks.sparse_dit import forward_tokens
from models.placement.precision import Products
from tstitch.denoiser import Denoiser, Prediction, Region
from tstitch.noise import ImageNoise

if TYPE_CHECKING:
    from models.networks.dit import DiT
    from models.networks.unet import ClassConditionalUNet
    from models.networks.uvit import UViT


class ClassConditionalDenoiser(Denoiser, Protocol):
    """A denoiser of class-conditional images, and what it takes for a label and for none.

    Attributes:
        first_timestep: how its network calls timestep 0.
    """

    first_timestep: int

    @property
    def has_null_class(self) -> bool:
        """Whether the label `num_classes` stands for none, so that it can be trained for guidance."""

    def conditional(self, labels: Tensor) -> Tensor:
        """Return the condition (N, ...) for class labels (N,)."""

    def unconditional(self, labels: Tensor, noise: ImageNoise, index: int) -> Tensor:
        """Return the condition for "no class" of the same images, for the denoiser at `index` of its pair."""


class DiTDenoiser:
    """A DiT as a denoiser. The network runs in its own dtype; latents and predictions are float32."""

    def __init__(self, network: DiT, products: Products = nullcontext):
        self.network, self.products = network, products
        self.dtype = network.pos_embed.dtype

    @property
    def has_null_class(self) -> bool:
        return self.network.config.class_dropout_prob > 0

    first_timestep = 0
    predicts_regions = True

    def __call__(
        self, latents: Tensor, timestep: Tensor, condition: Tensor, region: Region | None = None
    ) -> Prediction:
        inputs = latents.to(self.dtype), timestep, condition
        with self.products():
            if region is None:
                output = self.network(*inputs).float()
            else:
                output = forward_tokens(self.network, *inputs, region.patches, region.memory).float()
        channels = self.network.config.in_channels
        if output.shape[1] == channels:
            return Prediction(output)
        return Prediction(*output.split(channels, dim=1))

    def conditional(self, labels: Tensor) -> Tensor:
        return labels

    def unconditional(self, labels: Tensor, noise: ImageNoise, index: int) -> Tensor:
        """Return the null class, which is trained by dropping labels."""
        return torch.full_like(labels, self.network.config.num_classes)


class SNNetDenoiser(DiTDenoiser):
    """Two DiTs that are stitched in their middle, as a denoiser; it predicts all tokens at once."""

    predicts_regions = False

    @property
    def has_null_class(self) -> bool:
        return all(own.class_dropout_prob > 0 for own in (self.network.config.small, self.network.config.large))


class UNetDenoiser:
    """A class-conditional U-Net as a denoiser; its condition is the context (N, 1, D) of its own embedder."""

    first_timestep = 0

    def __init__(self, network: ClassConditionalUNet, products: Products = nullcontext):
        self.network, self.products = network, products
        self.dtype = network.embedding.weight.dtype

    @property
    def has_null_class(self) -> bool:
        return self.network.config.null_class

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        with self.products():
            return Prediction(self.network(latents.to(self.dtype), timestep, condition.to(self.dtype)).float())

    def conditional(self, labels: Tensor) -> Tensor:
        return self.network.embedding(labels)[:, None]

    def unconditional(self, labels: Tensor, noise: ImageNoise, index: int) -> Tensor:
        """Return the null class where there is one; else uniform [0, 1) noise per image and denoiser (the release)."""
        config = self.network.config
        if config.null_class:
            return self.conditional(torch.full_like(labels, config.num_classes))
        return noise.unconditional(index, config.context_dim).to(labels.device)


class UViTDenoiser:
    """A U-ViT as a denoiser."""

    has_null_class = True
    first_timestep = 1  # it was trained with timesteps that count from 1, as `alphas_cumprod` does from 0

    def __init__(self, network: UViT, products: Products = nullcontext):
        self.network, self.products = network, products
        self.dtype = network.pos_embed.dtype

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        with self.products():
            return Prediction(self.network(latents.to(self.dtype), timestep + self.first_timestep, condition).float())

    def conditional(self, labels: Tensor) -> Tensor:
        return labels

    def unconditional(self, labels: Tensor, noise: ImageNoise, index: int) -> Tensor:
        """Return the null class, which is trained by dropping labels."""
        return torch.full_like(labels, self.network.config.num_classes)
