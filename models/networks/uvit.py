"""The U-ViT (Bao et al. 2023, arXiv 2209.12152) with the parameter names of its checkpoints."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.dit import Attention, Mlp, PatchEmbed
from tstitch.errors import UserError


@dataclass(frozen=True)
class UViTConfig:
    """Shape of a class-conditional U-ViT. `depth` counts the blocks of both halves, without the middle one.

    `conv` adds a 3x3 convolution after the last linear layer; the published ImageNet latents have none.
    """

    input_size: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    num_classes: int = 1000
    in_channels: int = 4
    mlp_ratio: float = 4.0
    conv: bool = False


SIZES = {"U-ViT-H/2": {"patch_size": 2, "hidden_size": 1152, "depth": 28, "num_heads": 16}}


def uvit_config(preset: str | None = None, **kwargs: int) -> UViTConfig:
    """Make a configuration from its numbers, or from a preset (U-ViT, table 1) with the rest."""
    if preset is None:
        return UViTConfig(**kwargs)
    if preset not in SIZES:
        raise UserError(f"unknown preset {preset!r}; known: {', '.join(SIZES)}")
    return UViTConfig(**SIZES[preset], **kwargs)


class Block(nn.Module):
    """A transformer block; one of the second half first joins its tokens with those of the first half."""

    def __init__(self, config: UViTConfig, has_skip: bool = False):
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, config.num_heads, qkv_bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * config.mlp_ratio), approximate="none")
        self.skip_linear = nn.Linear(2 * width, width) if has_skip else None

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UViT(nn.Module):
    """A vision transformer that takes time and class as tokens, with long skips from its first half to its second.

    Its state dict has the keys of the released checkpoints, so those load unchanged.
    """

    def __init__(self, config: UViTConfig):
        super().__init__()
        self.config = config
        width, half = config.hidden_size, config.depth // 2
        num_patches = (config.input_size // config.patch_size) ** 2
        self.patch_embed = PatchEmbed(config.patch_size, config.in_channels, width)
        self.label_emb = nn.Embedding(config.num_classes + 1, width)  # the last row is the null class
        self.pos_embed = nn.Parameter(torch.zeros(1, 2 + num_patches, width))
        self.in_blocks = nn.ModuleList(Block(config) for _ in range(half))
        self.mid_block = Block(config)
        self.out_blocks = nn.ModuleList(Block(config, has_skip=True) for _ in range(half))
        self.norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, config.patch_size**2 * config.in_channels)
        channels = config.in_channels
        self.final_layer = nn.Conv2d(channels, channels, 3, padding=1) if config.conv else nn.Identity()

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy latents (N, in_channels, H, W) in the network's dtype.
            t: timesteps (N,), real numbers; 1 is the first of its training.
            y: class labels (N,), int64; `num_classes` is the null class.

        Returns:
            (N, in_channels, H, W).
        """
        x = self.patch_embed(x)
        tokens = [self.label_emb(y)[:, None], _time_token(t, self.config.hidden_size).to(x.dtype)[:, None], x]
        x = torch.cat(tokens, dim=1) + self.pos_embed
        skips = []
        for block in self.in_blocks:
            x = block(x)
            skips.append(x)
        x = self.mid_block(x)
        for block in self.out_blocks:
            x = block(x, skips.pop())
        return self.final_layer(self._unpatchify(self.decoder_pred(self.norm(x))[:, 2:]))

    def _unpatchify(self, x: Tensor) -> Tensor:
        p, side, channels = self.config.patch_size, self.config.input_size // self.config.patch_size, x.shape[2]
        channels //= p * p
        x = x.reshape(len(x), side, side, p, p, channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(len(x), channels, side * p, side * p)


def _time_token(t: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def initialize_uvit(model: UViT) -> None:
    """Initialise for training from scratch: normal weights of deviation 0.02, cut at two units; zero biases."""
    nn.init.trunc_normal_(model.pos_embed, std=0.02)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
