"""The VQ-f8 first stage of latent diffusion: `vq_f8`.

Looked up: CompVis/latent-diffusion, `ldm/modules/diffusionmodules/model.py` (`Encoder`, `Decoder`: names, shapes),
`ldm/models/autoencoder.py` (`VQModel`: `quantize`, `quant_conv`, `post_quant_conv`, `loss`), taming-transformers,
`losses/vqperceptual.py` and `losses/lpips.py` (what lies under `loss.`), `scripts/download_first_stages.sh` (the
archive `vq-f8.zip` is unpacked in place and has `model.ckpt`), `models/first_stage_models/vq-f8/config.yaml`.
"""

import zipfile
from pathlib import Path

from torch import Tensor

from models.networks.vq import VQConfig
from tests.published.lightning import write_old_lightning
from tests.published.torch_files import random_values

Shapes = dict[str, tuple[int, ...]]
LOSS: Shapes = {
    "loss.perceptual_loss.scaling_layer.shift": (1, 3, 1, 1),
    "loss.perceptual_loss.scaling_layer.scale": (1, 3, 1, 1),
    "loss.perceptual_loss.net.slice1.0.weight": (64, 3, 3, 3),
    "loss.perceptual_loss.net.slice1.0.bias": (64,),
    "loss.perceptual_loss.lin0.model.1.weight": (1, 64, 1, 1),
    "loss.discriminator.main.0.weight": (64, 3, 4, 4),
    "loss.discriminator.main.0.bias": (64,),
}


def first_stage_state(config: VQConfig, seed: int = 0) -> dict[str, Tensor]:
    """The weights of encoder, decoder and codebook, as `VQModelInterface` has them in an LDM, without a loss."""
    shapes = _encoder(config) | _decoder(config)
    shapes["quantize.embedding.weight"] = (config.n_embed, config.embed_dim)
    shapes |= _layer("quant_conv", config.embed_dim, config.z_channels, 1, 1)
    shapes |= _layer("post_quant_conv", config.z_channels, config.embed_dim, 1, 1)
    return random_values(shapes, seed)


def vq_state(config: VQConfig, seed: int = 0) -> dict[str, Tensor]:
    """The `state_dict` of the published file, which has the loss as well."""
    return first_stage_state(config, seed) | random_values(LOSS, seed)


def write_vq(path: Path, config: VQConfig, seed: int = 0, legacy: bool = False) -> Path:
    """Write `model.ckpt`, or under another name, as it is inside the archive."""
    return write_old_lightning(path, vq_state(config, seed), legacy)


def write_vq_archive(path: Path, config: VQConfig, seed: int = 0, folder: str = "") -> Path:
    """Write `vq-f8.zip`, with `model.ckpt` at its top or inside a folder."""
    checkpoint = write_vq(path.with_suffix(".ckpt"), config, seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(checkpoint, f"{folder}model.ckpt")
    checkpoint.unlink()
    return path


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _residual(name: str, inputs: int, outputs: int) -> Shapes:
    shapes = _layer(f"{name}.norm1", inputs) | _layer(f"{name}.conv1", outputs, inputs, 3, 3)
    shapes |= _layer(f"{name}.norm2", outputs) | _layer(f"{name}.conv2", outputs, outputs, 3, 3)
    return shapes | (_layer(f"{name}.nin_shortcut", outputs, inputs, 1, 1) if inputs != outputs else {})


def _attention(name: str, width: int) -> Shapes:
    shapes = _layer(f"{name}.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _layer(f"{name}.{part}", width, width, 1, 1)
    return shapes


def _middle(name: str, width: int) -> Shapes:
    shapes = _residual(f"{name}.block_1", width, width) | _attention(f"{name}.attn_1", width)
    return shapes | _residual(f"{name}.block_2", width, width)


def _encoder(config: VQConfig) -> Shapes:
    shapes = _layer("encoder.conv_in", config.ch, config.in_channels, 3, 3)
    width, side, last = config.ch, config.resolution, len(config.ch_mult) - 1
    for level, factor in enumerate(config.ch_mult):
        for block in range(config.num_res_blocks):
            shapes |= _residual(f"encoder.down.{level}.block.{block}", width, config.ch * factor)
            width = config.ch * factor
            if side in config.attn_resolutions:
                shapes |= _attention(f"encoder.down.{level}.attn.{block}", width)
        if level < last:
            shapes |= _layer(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
            side //= 2
    shapes |= _middle("encoder.mid", width) | _layer("encoder.norm_out", width)
    return shapes | _layer("encoder.conv_out", config.z_channels, width, 3, 3)


def _decoder(config: VQConfig) -> Shapes:
    width = config.ch * config.ch_mult[-1]
    side = config.resolution // 2 ** (len(config.ch_mult) - 1)
    shapes = _layer("decoder.conv_in", width, config.z_channels, 3, 3) | _middle("decoder.mid", width)
    for level, factor in reversed(list(enumerate(config.ch_mult))):
        for block in range(config.num_res_blocks + 1):
            shapes |= _residual(f"decoder.up.{level}.block.{block}", width, config.ch * factor)
            width = config.ch * factor
            if side in config.attn_resolutions:
                shapes |= _attention(f"decoder.up.{level}.attn.{block}", width)
        if level:
            shapes |= _layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
            side *= 2
    return shapes | _layer("decoder.norm_out", width) | _layer("decoder.conv_out", config.out_ch, width, 3, 3)
