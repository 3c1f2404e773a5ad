"""The Diffusion Transformer (Peebles & Xie 2023, arXiv 2212.09748) with the parameter names of its checkpoints."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tstitch.errors import UserError

TIMESTEP_FREQUENCIES = 256


@dataclass(frozen=True)
class DiTConfig:
    """Shape of a DiT. `input_size` is the side of the square latents."""

    input_size: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    num_classes: int = 1000
    in_channels: int = 4
    mlp_ratio: float = 4.0
    learn_sigma: bool = True
    class_dropout_prob: float = 0.1

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)


SIZES = {
    "S": {"depth": 12, "hidden_size": 384, "num_heads": 6},
    "B": {"depth": 12, "hidden_size": 768, "num_heads": 12},
    "L": {"depth": 24, "hidden_size": 1024, "num_heads": 16},
    "XL": {"depth": 28, "hidden_size": 1152, "num_heads": 16},
}
PATCH_SIZES = (2, 4, 8)


def dit_config(preset: str | None = None, **kwargs: int) -> DiTConfig:
    """Make a configuration from its numbers, or from a preset such as `DiT-XL/2` (DiT, table 1) with the rest."""
    if preset is None:
        return DiTConfig(**kwargs)
    known = {f"DiT-{size}/{patch}": (size, patch) for size in SIZES for patch in PATCH_SIZES}
    if preset not in known:
        raise UserError(f"unknown preset {preset!r}; known: {', '.join(known)}")
    size, patch_size = known[preset]
    return DiTConfig(patch_size=patch_size, **SIZES[size], **kwargs)


class TimestepEmbedder(nn.Module):
    def __init__(self, hidden_size: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(TIMESTEP_FREQUENCIES, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )

    def forward(self, t: Tensor) -> Tensor:
        half = TIMESTEP_FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angles = t[:, None].float() * frequencies[None]
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.mlp[0].weight.dtype))


class LabelEmbedder(nn.Module):
    """Class embedding; one more row is the null class where the network was trained with class dropout."""

    def __init__(self, num_classes: int, hidden_size: int, has_null_class: bool):
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + has_null_class, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift tokens (N, L, D) by what each image (N, D) has."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


# The three modules below have the names and the arithmetic of timm's, whose import takes two seconds.


class PatchEmbed(nn.Module):
    """Latents (N, C, H, W) cut into patches, each a token: (N, H * W / patch_size^2, hidden_size)."""

    def __init__(self, patch_size: int, in_channels: int, hidden_size: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, hidden_size, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention with several heads over tokens (N, L, hidden_size); `fused_attn` chooses PyTorch's kernel."""

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool = True):
        super().__init__()
        self.num_heads, self.fused_attn = num_heads, True
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        num, length, width = x.shape
        qkv = self.qkv(x).reshape(num, length, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused_attn:
            x = scaled_dot_product_attention(q, k, v)
        else:
            x = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(num, length, width))


class Mlp(nn.Module):
    """Two linear layers with GELU between them, or its approximation by tanh."""

    def __init__(self, hidden_size: int, inner_size: int, approximate: str = "tanh"):
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, inner_size)
        self.act = nn.GELU(approximate=approximate)
        self.fc2 = nn.Linear(inner_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class DiTBlock(nn.Module):
    """A transformer block with adaptive layer norm whose gates start at zero (adaLN-Zero)."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(hidden_size, int(hidden_size * mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate_attn.unsqueeze(1) * self.attn(modulate(self.norm1(x), shift_attn, scale_attn))
        return x + gate_mlp.unsqueeze(1) * self.mlp(modulate(self.norm2(x), shift_mlp, scale_mlp))


class FinalLayer(nn.Module):
    def __init__(self, hidden_size: int, patch_size: int, out_channels: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(hidden_size, patch_size * patch_size * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class DiT(nn.Module):
    """A class-conditional diffusion transformer over latents.

    Its state dict has the keys of the released DiT checkpoints, so those load unchanged.
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.x_embedder = PatchEmbed(config.patch_size, config.in_channels, hidden)
        self.t_embedder = TimestepEmbedder(hidden)
        self.y_embedder = LabelEmbedder(config.num_classes, hidden, config.class_dropout_prob > 0)
        self.register_buffer("pos_embed", sincos_position_embedding(hidden, config.input_size // config.patch_size))
        self.blocks = nn.ModuleList(DiTBlock(hidden, config.num_heads, config.mlp_ratio) for _ in range(config.depth))
        self.final_layer = FinalLayer(hidden, config.patch_size, config.out_channels)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict the noise and, with `learn_sigma`, the raw variance.

        Args:
            x: noisy latents (N, in_channels, H, W) in the network's dtype.
            t: timesteps (N,), whole numbers on the training schedule.
            y: class labels (N,), int64; `num_classes` is the null class.

        Returns:
            (N, out_channels, H, W): eps, then the raw variance channels.
        """
        x = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            x = block(x, c)
        return self.unpatchify(self.final_layer(x, c))

    def unpatchify(self, x: Tensor) -> Tensor:
        """Put tokens (N, L, p * p * out_channels) together to (N, out_channels, H, W)."""
        p, side = self.config.patch_size, self.config.input_size // self.config.patch_size
        x = x.reshape(len(x), side, side, p, p, self.config.out_channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(len(x), self.config.out_channels, side * p, side * p)


def sincos_position_embedding(hidden_size: int, side: int) -> Tensor:
    """Make the 2-D sine-cosine embedding (1, side*side, hidden_size): first half the column, second the row."""
    frequencies = 10000.0 ** -(torch.arange(hidden_size // 4, dtype=torch.float64) / (hidden_size / 4))
    row, column = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    halves = [axis.reshape(-1, 1) * frequencies for axis in (column, row)]
    return torch.cat([wave for angles in halves for wave in (angles.sin(), angles.cos())], dim=1).float()[None]


def initialize_dit(model: DiT) -> None:
    """Initialise for training from scratch: Xavier linears, zero adaLN gates and zero output (DiT, section 3.2)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    projection = model.x_embedder.proj
    nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
    nn.init.zeros_(projection.bias)
    nn.init.normal_(model.y_embedder.embedding_table.weight, std=0.02)
    nn.init.normal_(model.t_embedder.mlp[0].weight, std=0.02)
    nn.init.normal_(model.t_embedder.mlp[2].weight, std=0.02)
    for layer in [block.adaLN_modulation[-1] for block in model.blocks] + [
        model.final_layer.adaLN_modulation[-1],
        model.final_layer.linear,
    ]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
