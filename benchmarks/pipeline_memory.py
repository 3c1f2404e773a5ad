"""What stitched text-to-image pairs weigh: `python -m benchmarks.pipeline_memory` prints the table of the docs.

Computed, not measured: networks of the published architectures are made without memory (PyTorch's meta device) and
their parameters and stored buffers counted, at two bytes each. Activations come on top.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

BYTES = 2  # of a float16 or bfloat16 number
SD = {"sample_size": 64, "cross_attention_dim": 768}
THREE_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280),
}
SD2 = {"cross_attention_dim": 1024, "use_linear_projection": True, "attention_head_dim": (5, 10, 20, 20)}
SDXL = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
}
SSD_1B = {
    "transformer_layers_per_block": (1, (2, 2), (4, 4)),
    "reverse_transformer_layers_per_block": ((4, 4, 10), (2, 1, 1), 1),
    "mid_block_type": "UNetMidBlock2D",
}
SD3 = {
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
}
SD3_MEDIUM = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536}
SD35_MEDIUM = {"pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))}
SD35_LARGE = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
UNET, TRANSFORMER = "UNet2DConditionModel", "SD3Transformer2DModel"
DENOISERS = {
    "SD v1.4": (UNET, SD),
    "SD v2": (UNET, {**SD, **SD2}),
    "BK-SDM-Base": (UNET, {**SD, "layers_per_block": 1}),
    "BK-SDM-Small": (UNET, {**SD, "layers_per_block": 1, "mid_block_type": None}),
    "BK-SDM-Tiny": (UNET, {**SD, **THREE_BLOCKS, "layers_per_block": 1, "mid_block_type": None}),
    "SDXL": (UNET, {**SDXL, "transformer_layers_per_block": (1, 2, 10)}),
    "LCM-SDXL": (UNET, {**SDXL, "transformer_layers_per_block": (1, 2, 10), "time_cond_proj_dim": 256}),
    "SSD-1B": (UNET, {**SDXL, **SSD_1B}),
    "SD3 medium": (TRANSFORMER, {**SD3, **SD3_MEDIUM, "pos_embed_max_size": 192}),
    "SD3.5 medium": (TRANSFORMER, {**SD3, **SD3_MEDIUM, **SD35_MEDIUM}),
    "SD3.5 large": (TRANSFORMER, {**SD3, **SD35_LARGE}),
}  # fmt: skip
CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
T5_XXL = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}


@dataclass(frozen=True)
class Pair:
    """A small and a large denoiser, and the text encoders of their pipeline."""

    small: str
    large: str
    text_encoders: tuple[str, ...]


PAIRS = (
    Pair("BK-SDM-Tiny", "SD v1.4", ("CLIP-L",)),
    Pair("BK-SDM-Small", "SD v1.4", ("CLIP-L",)),
    Pair("SSD-1B", "SDXL", ("CLIP-L", "CLIP-G")),
    Pair("SSD-1B", "LCM-SDXL", ("CLIP-L", "CLIP-G")),
    Pair("SD3 medium", "SD3.5 large", ("CLIP-L", "CLIP-G", "T5-XXL")),
    Pair("SD3.5 medium", "SD3.5 large", ("CLIP-L", "CLIP-G", "T5-XXL")),
)


@cache
def denoiser(name: str) -> nn.Module:
    """A denoiser of a published architecture, without memory."""
    import diffusers

    kind, config = DENOISERS[name]
    with torch.device("meta"):
        return getattr(diffusers, kind)(**config)


@cache
def text_encoder(name: str) -> nn.Module:
    """A text encoder of a published architecture, without memory."""
    import transformers

    with torch.device("meta"):
        if name == "T5-XXL":
            return transformers.T5EncoderModel(transformers.T5Config(**T5_XXL))
        config = transformers.CLIPTextConfig(**(CLIP_L if name == "CLIP-L" else CLIP_G))
        return transformers.CLIPTextModelWithProjection(config)


@cache
def autoencoder(latent_channels: int) -> nn.Module:
    """Stable Diffusion's autoencoder, without memory."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=latent_channels,
        )  # fmt: skip


def num_parameters(network: nn.Module) -> int:
    """Trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def gigabytes(network: nn.Module) -> float:
    """What the weights take in half precision: parameters and stored buffers (SD3 stores its position table)."""
    stored = sum(value.numel() for value in network.state_dict().values())
    return BYTES * stored / 1e9


def row(pair: Pair) -> str:
    """A row of the table: parameters in millions, then gigabytes of weights on the device in four ways."""
    small, large = denoiser(pair.small), denoiser(pair.large)
    others = [text_encoder(name) for name in pair.text_encoders] + [autoencoder(large.config.in_channels)]
    denoisers, rest = [gigabytes(small), gigabytes(large)], [gigabytes(each) for each in others]
    largest_other = max(rest)
    cells = [
        f"{pair.small}, {pair.large}",
        f"{num_parameters(small) / 1e6:,.0f} M + {num_parameters(large) / 1e6:,.0f} M",
        f"{denoisers[1] + sum(rest):.1f}",
        f"{sum(denoisers) + sum(rest):.1f}",
        f"{max(denoisers) + sum(rest):.1f}",
        f"{max(sum(denoisers), largest_other):.1f}",
        f"{max(*denoisers, largest_other):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def table() -> list[str]:
    """The table's lines."""
    return [
        "| small, large | parameters | large alone | `both` | `swap` | `both`, offload | `swap`, offload |",
        "|---|---|---|---|---|---|---|",
        *(row(pair) for pair in PAIRS),
    ]


if __name__ == "__main__":
    print("\n".join(table()))
