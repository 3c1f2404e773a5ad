"""Autoencoders between images and latents: `AutoencoderKL` and `VQModel`, as diffusers folders or official files."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.weights.folders import CONFIG_FILE, build, folder_files, folder_weights, is_folder, network_folder
from models.weights.read import check_state, read_settings, read_state_dict
from tstitch.errors import UserError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

KINDS = ("kl", "vq")
PIXELS_AT_ONCE = 16 * 32 * 32
SUBFOLDERS = {"kl": ("vae",), "vq": ("vqvae", "vae")}


@dataclass(frozen=True)
class AutoencoderSpec:
    """An autoencoder that can be loaded.

    `path` is a folder of diffusers, of the autoencoder or of a pipeline that has one, or for `vq` also a checkpoint
    of the original layout, whose shape `config` then gives. An image has `downsampling` times the side of its latents.
    """

    name: str
    kind: str
    path: Path
    config: dict | None = None
    downsampling: int = 8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"unknown kind of autoencoder {self.kind!r}; known: {', '.join(KINDS)}")

    @property
    def folder(self) -> Path | None:
        """The folder of `config.json` and the weights; None where `path` is a file."""
        return network_folder(self.path, *SUBFOLDERS[self.kind]) if is_folder(self.path) else None

    @property
    def weights(self) -> Path:
        """The file of the weights; in a folder the safetensors one where both names are missing."""
        return self.path if self.folder is None else folder_weights(self.folder)

    @property
    def files(self) -> list[Path]:
        """The files that loading reads, whether they exist or not."""
        return [self.path] if self.folder is None else folder_files(self.folder)


def load_autoencoder(spec: AutoencoderSpec) -> AutoencoderKL | VQModel:
    """Load an autoencoder in float32 and evaluation mode; nothing is fetched.

    A folder may have the names of attention of diffusers before 0.13, as Stable Diffusion's published one does.

    Raises:
        UserError: a file is missing, damaged, or of another network; names the first key that does not fit.
    """
    autoencoder, state = _from_file(spec) if spec.folder is None else _from_folder(spec, spec.folder)
    check_state(autoencoder, state, spec.weights)
    autoencoder.load_state_dict(state)
    return autoencoder.eval().requires_grad_(False)


def _from_file(spec: AutoencoderSpec) -> tuple[VQModel, dict[str, Tensor]]:
    # These imports take seconds, which bad input should not wait for.
    from models.networks.vq import make_vq_model, vq_config
    from models.weights.layouts import vq_state

    if spec.kind != "vq":
        raise UserError(f"autoencoder {spec.name}: the kind {spec.kind} is a folder of diffusers, got {spec.path}")
    config = vq_config(spec.name, spec.config or {})
    return make_vq_model(config), vq_state(read_state_dict(spec.path), len(config.ch_mult))


def _from_folder(spec: AutoencoderSpec, folder: Path) -> tuple[AutoencoderKL | VQModel, dict[str, Tensor]]:
    config = read_settings(folder / CONFIG_FILE)
    from diffusers import AutoencoderKL, VQModel

    from models.networks.vq import look_up_in_float32
    from models.weights.layouts import rename_old_attention

    if spec.kind == "kl":
        autoencoder = build(AutoencoderKL, config, folder / CONFIG_FILE)
    else:
        # Before diffusers 0.17 a VQModel had no such setting, and its latents were not scaled.
        autoencoder = look_up_in_float32(build(VQModel, {"scaling_factor": 1.0, **config}, folder / CONFIG_FILE))
    factor = autoencoder.config.scaling_factor
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise UserError(f"{folder / CONFIG_FILE} has scaling_factor {factor!r}, want a number above 0")
    return autoencoder, rename_old_attention(read_state_dict(spec.weights))


def decode(autoencoder: AutoencoderKL | VQModel, latents: Tensor) -> Tensor:
    """Decode latents (N, C, h, w) to images (N, channels, H, W), nominally in [-1, 1], float32.

    A `VQModel` quantises them first, as the release does, in float32 whatever its precision.
    """
    from models.networks.vq import decode_codes

    scaled = latents / autoencoder.config.scaling_factor
    if hasattr(autoencoder, "quantize"):
        return decode_codes(autoencoder, scaled).float()
    return autoencoder.decode(scaled.to(autoencoder.dtype)).sample.float()


def decode_in_parallel(autoencoder: AutoencoderKL | VQModel, latents: Tensor, downsampling: int) -> Tensor:
    """Decode on a CPU, a few images for each thread at a time, so that the bytes do not depend on the threads.

    Convolutions round by the number of threads that share one, and with it by the number of ranks on a machine. Here
    each has one thread, and the threads share out the images in groups of one size.
    """
    num_threads = torch.get_num_threads()
    pixels = latents.shape[-2] * latents.shape[-1] * downsampling**2

    def decode_alone(group: Tensor) -> Tensor:
        torch.set_num_threads(1)
        with torch.inference_mode():
            return decode(autoencoder, group)

    groups = latents.split(max(1, PIXELS_AT_ONCE // pixels))
    try:
        if len(groups) == 1:
            return decode_alone(latents)
        with ThreadPoolExecutor(num_threads) as pool:
            return torch.cat(list(pool.map(decode_alone, groups)))
    finally:
        torch.set_num_threads(num_threads)  # threads that start later would have one
