"""The class-conditional U-Net of latent diffusion (Rombach et al. 2022) on diffusers' blocks, and its key mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from diffusers import UNet2DConditionModel
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a latent-diffusion U-Net; the names are those of its published configurations.

    `null_class` says that the class embedder has one more row, which stands for "no class". The
    `norm_num_groups` are 32 in every published network.
    """

    image_size: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    num_head_channels: int
    context_dim: int
    num_classes: int
    null_class: bool = False
    norm_num_groups: int = 32
    in_channels: int = 4
    out_channels: int = 4

    @property
    def input_size(self) -> int:
        return self.image_size


class ClassConditionalUNet(nn.Module):
    """A U-Net with its own class embedder: eps (N, 4, H, W) from latents, timestep (N,) and context (N, 1, D)."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths = [config.model_channels * factor for factor in config.channel_mult]
        attends = [2**level in config.attention_resolutions for level in range(len(widths))]
        self.unet = UNet2DConditionModel(
            sample_size=config.image_size,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            block_out_channels=widths,
            layers_per_block=config.num_res_blocks,
            down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
            up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
            # diffusers means the number of heads by this argument.
            attention_head_dim=[width // config.num_head_channels for width in widths],
            cross_attention_dim=config.context_dim,
            norm_num_groups=config.norm_num_groups,
        )
        self.embedding = nn.Embedding(config.num_classes + config.null_class, config.context_dim)

    def forward(self, latents: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        return self.unet(latents, timestep, encoder_hidden_states=context, return_dict=False)[0]


RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
OUTER = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def convert_unet_keys(state: Mapping[str, Tensor], num_res_blocks: int) -> dict[str, Tensor]:
    """Rename the keys of an LDM U-Net (without `model.diffusion_model.`) to those of `UNet2DConditionModel`."""
    return {_convert_key(key, num_res_blocks + 1): value for key, value in state.items()}


def _convert_key(key: str, blocks_per_level: int) -> str:
    for old, new in OUTER.items():
        if key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    middle = re.fullmatch(r"middle_block\.(\d)\.(.+)", key)
    if middle:
        position, rest = int(middle[1]), middle[2]
        return (
            f"mid_block.attentions.0.{rest}" if position == 1 else f"mid_block.resnets.{position // 2}.{_resnet(rest)}"
        )
    side = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", key)
    if side is None:
        return key
    down, index, part, rest = side[1] == "input", int(side[2]), int(side[3]), side[4]
    level, layer = divmod(index - 1 if down else index, blocks_per_level)
    block = f"{'down' if down else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv."):
        return f"{block}.upsamplers.0.{rest}"
    return f"{block}.resnets.{layer}.{_resnet(rest)}" if part == 0 else f"{block}.attentions.{layer}.{rest}"


def _resnet(rest: str) -> str:
    name, _, leaf = rest.rpartition(".")
    return f"{RESNET.get(name, name)}.{leaf}"
