"""A decoder trained against a discriminator of patches, on fixed latents (Esser et al. 2021, section 3.1)."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from training.latents import LatentImages
from training.objective import ALL
from training.tasks import random_indices

WIDTHS = (32, 64, 96)


class PatchDiscriminator(nn.Sequential):
    """Logits (N, 1, 14, 14) of grey images (N, 1, 32, 32): is a patch of 10x10 pixels real?"""

    def __init__(self) -> None:
        first, second, third = WIDTHS
        super().__init__(
            nn.Conv2d(1, first, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(second, third, 3), nn.LeakyReLU(0.2),
            nn.Conv2d(third, 1, 1),
        )  # fmt: skip


class AdversarialDecoder(nn.Module):
    """The decoding half of an autoencoder, and the discriminator that it is trained against."""

    def __init__(self, autoencoder: AutoencoderKL):
        super().__init__()
        self.post_quant_conv, self.decoder = autoencoder.post_quant_conv, autoencoder.decoder
        self.discriminator = PatchDiscriminator()

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents))


class DecoderTask:
    """Reconstruction from latents, a perceptual distance, and a discriminator that is trained in the same backward.

    A decoder that is trained on a pixel-wise error alone blurs what the latents do not tell. The latents stay as they
    are, so denoisers that were trained on them stay valid.
    """

    def __init__(
        self,
        module: AdversarialDecoder,
        images: Tensor,
        latents: LatentImages,
        adversarial_weight: float,
        perceptual: Callable[[Tensor, Tensor], Tensor],
    ):
        self.module, self.images, self.latents = module, images, latents
        self.adversarial_weight, self.perceptual = adversarial_weight, perceptual

    def loss(self, batch_size: int, generator: torch.Generator, share: slice = ALL) -> Tensor:
        indices = random_indices(len(self.images), batch_size, generator)
        mean, std = self.latents.mean[indices], self.latents.std[indices]
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        images, latents = self.images[indices[share]], (mean + std * noise)[share]
        decoded = self.module(latents).float()
        reconstruction = F.l1_loss(decoded, images) + self.perceptual(images, decoded)
        return reconstruction + self.adversarial_weight * self._deceive(decoded) + self._discriminate(images, decoded)

    def _deceive(self, decoded: Tensor) -> Tensor:
        """The decoder's share of the hinge loss; nothing of it reaches the discriminator."""
        judge = self.module.discriminator
        frozen = {name: value.detach() for name, value in judge.named_parameters()}
        return -functional_call(judge, frozen, decoded).float().mean()

    def _discriminate(self, images: Tensor, decoded: Tensor) -> Tensor:
        """The discriminator's hinge loss; nothing of it reaches the decoder."""
        judge = self.module.discriminator
        real, made = judge(images).float(), judge(decoded.detach()).float()
        return F.relu(1 - real).mean() + F.relu(1 + made).mean()
