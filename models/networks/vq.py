"""The VQ-f8 first stage of latent diffusion through diffusers' `VQModel`, with its checkpoints' keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields

from diffusers import VQModel
from diffusers.models.autoencoders.vae import VectorQuantizer
from torch import Tensor

from models.placement.precision import products
from tstitch.errors import UserError


@dataclass(frozen=True)
class VQConfig:
    """Shape of a VQ first stage; the names are those of its published configurations."""

    embed_dim: int
    n_embed: int
    z_channels: int
    resolution: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    in_channels: int = 3
    out_ch: int = 3


def vq_config(name: str, values: Mapping[str, object]) -> VQConfig:
    """Make a configuration from plain values; `UserError` where a key of autoencoder `name` is unknown or missing."""
    known = {field.name: field for field in fields(VQConfig)}
    unknown = [key for key in values if key not in known]
    missing = [key for key, field in known.items() if field.default is MISSING and key not in values]
    if unknown or missing:
        problem = f"unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
        raise UserError(f"the config of the autoencoder {name} has {problem}; want {', '.join(known)}")
    return VQConfig(**values)


class Float32Quantizer(VectorQuantizer):
    """A quantizer that keeps its codebook in float32 and searches it in float32, whatever dtype its model is given.

    In bf16, codebook and distances are so coarse that one code in ten is another.
    """

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, tuple]:
        with products("float32", z.device)():
            return super().forward(z.float())

    def _apply(self, move: Callable[[Tensor], Tensor], recurse: bool = True) -> Float32Quantizer:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = move(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_dtype, recurse)


def look_up_in_float32(model: VQModel) -> VQModel:
    """Give an untrained model a `Float32Quantizer` of its shape."""
    config = model.config
    dim = config.latent_channels if config.vq_embed_dim is None else config.vq_embed_dim
    model.quantize = Float32Quantizer(config.num_vq_embeddings, dim, beta=model.quantize.beta)
    return model


def decode_codes(model: VQModel, latents: Tensor) -> Tensor:
    """Decode the codes nearest to float32 latents (N, C, h, w) to images, in the model's dtype."""
    codes = model.quantize(latents)[0].to(model.dtype)
    return model.decoder(model.post_quant_conv(codes), codes if model.config.norm_type == "spatial" else None)


def make_vq_model(config: VQConfig) -> VQModel:
    """Build an untrained VQModel of the given shape."""
    attends = [config.resolution // 2**level in config.attn_resolutions for level in range(len(config.ch_mult))]
    model = VQModel(
        in_channels=config.in_channels,
        out_channels=config.out_ch,
        block_out_channels=[config.ch * factor for factor in config.ch_mult],
        down_block_types=["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attends],
        up_block_types=["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attends)],
        layers_per_block=config.num_res_blocks,
        latent_channels=config.z_channels,
        num_vq_embeddings=config.n_embed,
        vq_embed_dim=config.embed_dim,
        sample_size=config.resolution,
        scaling_factor=1.0,
    )
    return look_up_in_float32(model)


ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def convert_vq_keys(state: Mapping[str, Tensor], num_levels: int) -> dict[str, Tensor]:
    """Rename the keys of a VQ first stage (without `first_stage_model.`) to those of `VQModel`.

    Its attention is written with 1x1 convolutions; diffusers' with linear layers of the same weights.
    """
    converted = {}
    for key, value in state.items():
        new = _convert_key(key, num_levels)
        converted[new] = value[..., 0, 0] if ".attentions." in new and value.ndim == 4 else value
    return converted


def _convert_key(key: str, num_levels: int) -> str:
    key = key.replace("norm_out", "conv_norm_out").replace("nin_shortcut", "conv_shortcut")
    key = re.sub(r"\.mid\.block_(\d)", lambda m: f".mid_block.resnets.{int(m[1]) - 1}", key)
    key = re.sub(r"\.mid\.attn_1", ".mid_block.attentions.0", key)
    key = re.sub(r"\.down\.(\d+)", r".down_blocks.\1", key)
    # The original counts the decoder's levels from the image, diffusers from the latents.
    key = re.sub(r"\.up\.(\d+)", lambda m: f".up_blocks.{num_levels - 1 - int(m[1])}", key)
    key = re.sub(r"\.block\.(\d+)", r".resnets.\1", key)
    key = re.sub(r"\.attn\.(\d+)", r".attentions.\1", key)
    key = key.replace("downsample.conv", "downsamplers.0.conv").replace("upsample.conv", "upsamplers.0.conv")
    attention = re.fullmatch(r"(.+\.attentions\.\d+)\.(\w+)\.(\w+)", key)
    return f"{attention[1]}.{ATTENTION[attention[2]]}.{attention[3]}" if attention else key
