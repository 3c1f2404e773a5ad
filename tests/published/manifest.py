"""The writer of each entry of `configs/weights.yaml`: what its address serves, under the name that it has there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.networks.dit import DiTConfig, dit_config
from models.networks.unet import UNetConfig
from models.networks.uvit import uvit_config
from models.networks.vq import VQConfig
from tests.published.diffusers_folders import SD_AUTOENCODER, SMALL_AUTOENCODER, write_autoencoder, write_dit_pipeline
from tests.published.dit import write_dit, write_dit_training
from tests.published.extractors import write_dinov2, write_inception
from tests.published.ldm import write_ldm
from tests.published.reference_batches import write_reference_batch
from tests.published.uvit import write_uvit
from tests.published.vq import write_vq_archive

VQ_F8 = VQConfig(4, 16384, 4, 256, 128, (1, 2, 2, 4), 2, (32,))
SMALL_VQ = VQConfig(4, 64, 4, 32, 32, (1, 1, 2, 2), 1, (4,))
LDM = UNetConfig(32, 256, (1, 2, 4), 2, (4, 2, 1), 32, 512, 1000)
LDM_S = replace(LDM, model_channels=64, context_dim=256)
SMALL_LDM = UNetConfig(8, 32, (1, 2, 2), 1, (4, 2), 16, 16, 10)


def small_dit(config: DiTConfig) -> DiTConfig:
    """A DiT of the same patches on latents of 8x8, two blocks deep."""
    return replace(config, input_size=8, hidden_size=32, depth=2, num_heads=2, num_classes=10)


def write_published(name: str, folder: Path, full_size: bool = False) -> list[Path]:
    """Write what is published as `name` into `folder`, full-size, or small where the loader takes a configuration.

    Inception, DINOv2 and the statistics of reference batches have one size only. References have 8 images.
    """
    return WRITERS[name](folder, full_size)


def _dit(preset: str, side: int, file: str, training: bool = False) -> Callable[[Path, bool], list[Path]]:
    def write(folder: Path, full_size: bool) -> list[Path]:
        config = dit_config(preset, input_size=side)
        writer = write_dit_training if training else write_dit
        return [writer(folder / file, config if full_size else small_dit(config))]

    return write


def _ldm(config: UNetConfig, file: str) -> Callable[[Path, bool], list[Path]]:
    def write(folder: Path, full_size: bool) -> list[Path]:
        network, first_stage = (config, VQ_F8) if full_size else (SMALL_LDM, SMALL_VQ)
        return [write_ldm(folder / file, network, first_stage)]

    return write


def _autoencoder(name: str, seed: int) -> Callable[[Path, bool], list[Path]]:
    def write(folder: Path, full_size: bool) -> list[Path]:
        written = write_autoencoder(folder / name, SD_AUTOENCODER if full_size else SMALL_AUTOENCODER, seed=seed)
        return sorted(written.iterdir())

    return write


def _vq(folder: Path, full_size: bool) -> list[Path]:
    return [write_vq_archive(folder / "vq-f8.zip", VQ_F8 if full_size else SMALL_VQ)]


def _dit_pipeline(folder: Path, full_size: bool) -> list[Path]:
    config = dit_config("DiT-XL/2", input_size=32)
    autoencoder = SD_AUTOENCODER if full_size else SMALL_AUTOENCODER
    written = write_dit_pipeline(folder / "DiT-XL-2-256", config if full_size else small_dit(config), autoencoder)
    return sorted(path for path in written.rglob("*") if path.is_file())


def _uvit(folder: Path, full_size: bool) -> list[Path]:
    config = uvit_config("U-ViT-H/2", input_size=32)
    small = replace(config, input_size=8, hidden_size=32, depth=2, num_heads=2, num_classes=10)
    return [write_uvit(folder / "imagenet256_uvit_huge.pth", config if full_size else small)]


WRITERS: dict[str, Callable[[Path, bool], list[Path]]] = {
    "dit_s_256": _dit("DiT-S/2", 32, "dit_s_256.pt", training=True),
    "dit_b_256": _dit("DiT-B/2", 32, "dit_b_256.pt", training=True),
    "dit_xl_256": _dit("DiT-XL/2", 32, "dit_xl_256.pt"),
    "dit_xl_512": _dit("DiT-XL/2", 64, "DiT-XL-2-512x512.pt"),
    "dit_xl_256_diffusers": _dit_pipeline,
    "ldm_s_256": _ldm(LDM_S, "ldm_s_256.ckpt"),
    "ldm_256": _ldm(LDM, "ldm_256.ckpt"),
    "uvit_h_256": _uvit,
    "vq_f8": _vq,
    "sd_vae_ft_ema": _autoencoder("sd-vae-ft-ema", 1),
    "sd_vae_ft_mse": _autoencoder("sd-vae-ft-mse", 2),
    "imagenet256_reference": lambda folder, _: [
        write_reference_batch(folder / "VIRTUAL_imagenet256_labeled.npz", 256, num_images=8)
    ],
    "imagenet512_reference": lambda folder, _: [
        write_reference_batch(folder / "VIRTUAL_imagenet512.npz", 512, num_images=8)
    ],
    "inception": lambda folder, _: [write_inception(folder / "weights-inception-2015-12-05-6726825d.pth")],
    "dinov2": lambda folder, _: [write_dinov2(folder / "dinov2_vitb14_pretrain.pth")],
}
