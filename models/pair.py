"""A pair: two or more denoisers, small to large, with the autoencoder that they share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.autoencoder import load_autoencoder
from models.denoisers import DiTDenoiser
from models.dit import DiT, DiTConfig, dit_config
from models.weights import load_weights
from tstitch.errors import UserError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class DenoiserSpec:
    """A denoiser that can be loaded: its name, its shape and the file of its weights."""

    name: str
    config: DiTConfig
    weights: Path


@dataclass(frozen=True)
class Pair:
    """Loaded networks. A denoiser that is not used is None."""

    denoisers: list[DiTDenoiser | None]
    autoencoder: AutoencoderKL


def check_denoisers(specs: Sequence[DenoiserSpec]) -> None:
    """Raise `UserError` unless all denoisers share latents and classes."""
    for spec in specs[1:]:
        for name in ("input_size", "in_channels", "num_classes"):
            ours, first = getattr(spec.config, name), getattr(specs[0].config, name)
            if ours != first:
                raise UserError(f"{spec.name} has {name} {ours}, but {specs[0].name} has {first}; a pair shares them")


def load_pair(
    specs: Sequence[DenoiserSpec], used: Collection[int], autoencoder: Path, dtype: torch.dtype, device: torch.device
) -> Pair:
    """Load the autoencoder (float32) and the denoisers whose index is in `used` (in `dtype`), nothing else."""
    denoisers = [_load_denoiser(spec, dtype, device) if index in used else None for index, spec in enumerate(specs)]
    return Pair(denoisers, load_autoencoder(autoencoder).to(device))


def _load_denoiser(spec: DenoiserSpec, dtype: torch.dtype, device: torch.device) -> DiTDenoiser:
    with torch.device("meta"):
        network = DiT(spec.config)
    load_weights(network, spec.weights)
    return DiTDenoiser(network.to(device, dtype).eval().requires_grad_(False))


def dit_spec(name: str, weights: Path, config: dict) -> DenoiserSpec:
    """A spec from plain values; `config` is passed to `dit_config`."""
    return DenoiserSpec(name, dit_config(**config), weights)
