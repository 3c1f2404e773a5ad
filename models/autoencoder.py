"""Autoencoders between images and latents: folders in the layout of diffusers' `AutoencoderKL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from models.weights import load_weights, read_config

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


def autoencoder_weights(folder: Path) -> Path:
    """The weight file of a diffusers folder (the safetensors one where neither exists)."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), folder / WEIGHT_FILES[0])


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """Load `config.json` and the weights of `folder`, float32, in evaluation mode, with nothing fetched."""
    from diffusers import AutoencoderKL  # takes seconds, which bad input should not wait for

    autoencoder = AutoencoderKL.from_config(read_config(folder / "config.json"))
    load_weights(autoencoder, autoencoder_weights(folder))
    return autoencoder.eval().requires_grad_(False)


def decode(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode scaled latents (N, C, h, w) to images (N, channels, H, W), nominally in [-1, 1], in float32."""
    scaled = (latents / autoencoder.config.scaling_factor).to(autoencoder.dtype)
    return autoencoder.decode(scaled).sample.float()
