"""Published denoisers made without memory (PyTorch's meta device), for their sizes and for which of them fit."""

from functools import cache

import diffusers
import torch
from torch import nn

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
PAIRS = (
    ("BK-SDM-Tiny", "SD v1.4"),
    ("BK-SDM-Small", "SD v1.4"),
    ("SSD-1B", "SDXL"),
    ("SSD-1B", "LCM-SDXL"),
    ("SD3 medium", "SD3.5 large"),
    ("SD3.5 medium", "SD3.5 large"),
)  # small, large


@cache
def denoiser(name: str) -> nn.Module:
    """Make a denoiser of a published architecture, without memory."""
    kind, config = DENOISERS[name]
    with torch.device("meta"):
        return getattr(diffusers, kind)(**config)


def parameters_m(name: str) -> float:
    """Count a denoiser's parameters, in millions."""
    return sum(parameter.numel() for parameter in denoiser(name).parameters()) / 1e6


def size_table() -> str:
    """Write the table of the pairs' parameters in docs/pipelines.md."""

    def size(name: str) -> str:
        return f"{parameters_m(name):,.0f}"

    rows = (f"| {small} | {large} | {size(small)} | {size(large)} |" for small, large in PAIRS)
    return "\n".join(["| small | large | small, millions | large, millions |", "|---|---|---|---|", *rows])
