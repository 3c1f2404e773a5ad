"""A data set through a network, part by part."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

BATCH_SIZE = 250


def scaled(images: np.ndarray) -> Tensor:
    """Bytes (N, H, W) as (N, 1, H, W) in [-1, 1]."""
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


@torch.inference_mode()
def encode(autoencoder: AutoencoderKL, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N, C, h, w) of the latents of images (N, 1, H, W) in [-1, 1], not scaled."""
    posteriors = [autoencoder.encode(part.to(device)).latent_dist for part in images.split(BATCH_SIZE)]
    mean, std = (torch.cat([getattr(p, name) for p in posteriors]).cpu() for name in ("mean", "std"))
    return mean.clone(), std.clone()


@torch.inference_mode()
def decode(autoencoder: AutoencoderKL, latents: Tensor, device: torch.device) -> Tensor:
    """Images (N, 1, H, W) in [-1, 1]."""
    parts = [autoencoder.decode(part.to(device)).sample.cpu() for part in latents.split(BATCH_SIZE)]
    return torch.cat(parts).clamp(-1, 1)


@torch.inference_mode()
def classify(classifier: nn.Module, images: np.ndarray, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of bytes (N, H, W)."""
    outputs = [classifier(part.to(device)) for part in scaled(images).split(BATCH_SIZE)]
    features, logits = (torch.cat(own).float().cpu().numpy() for own in zip(*outputs, strict=True))
    return features, logits
