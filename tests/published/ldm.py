"""LDM checkpoints of T-Stitch: `ldm_s_256`, `ldm_256`.

Looked up: CompVis/latent-diffusion, `ldm/modules/diffusionmodules/openaimodel.py` and `ldm/modules/attention.py`
(names and shapes of the U-Net), `ldm/models/diffusion/ddpm.py` (buffers of the noise schedule), `ldm/modules/ema.py`
(averaged weights lie under `model_ema.` with the points taken out of their names, beside `decay` and `num_updates`),
`ldm/modules/encoders/modules.py` (`ClassEmbedder`). NVlabs/T-Stitch, `ldm/configs/latent-diffusion/
cin-ldm-vq-f8-t-stitch.yaml` (1,000 classes, no `scale_factor`) and `ldm/scripts/sample_imagenet_ddp_t_stitch.py` (the
weights lie under `state_dict`; the first stage is loaded from a file of its own, and is in the checkpoint as well).
"""

from pathlib import Path

import torch
from torch import Tensor

from models.networks.unet import UNetConfig
from models.networks.vq import VQConfig
from tests.published.lightning import write_lightning
from tests.published.torch_files import random_values
from tests.published.vq import first_stage_state

Shapes = dict[str, tuple[int, ...]]
SCHEDULE_BUFFERS = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
)


def layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    """The weight of a convolution or a linear layer, and its bias; of a norm, both."""
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def unet_state(config: UNetConfig, seed: int = 0) -> dict[str, Tensor]:
    """The U-Net's weights, as `UNetModel` names them."""
    width, depth = config.model_channels, len(config.channel_mult)
    shapes = layer("time_embed.0", 4 * width, width) | layer("time_embed.2", 4 * width, 4 * width)
    shapes |= layer("input_blocks.0.0", width, config.in_channels, 3, 3)
    channels, skips, rate, index = width, [width], 1, 1
    for level, factor in enumerate(config.channel_mult):
        for _ in range(config.num_res_blocks):
            shapes |= _residual(f"input_blocks.{index}.0", channels, factor * width, 4 * width)
            channels = factor * width
            if rate in config.attention_resolutions:
                shapes |= _transformer(f"input_blocks.{index}.1", channels, config.context_dim)
            skips.append(channels)
            index += 1
        if level < depth - 1:
            shapes |= layer(f"input_blocks.{index}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            rate, index = 2 * rate, index + 1
    shapes |= _residual("middle_block.0", channels, channels, 4 * width)
    shapes |= _transformer("middle_block.1", channels, config.context_dim)
    shapes |= _residual("middle_block.2", channels, channels, 4 * width)
    index = 0
    for level, factor in reversed(list(enumerate(config.channel_mult))):
        for block in range(config.num_res_blocks + 1):
            shapes |= _residual(f"output_blocks.{index}.0", channels + skips.pop(), factor * width, 4 * width)
            channels, part = factor * width, 1
            if rate in config.attention_resolutions:
                shapes |= _transformer(f"output_blocks.{index}.1", channels, config.context_dim)
                part = 2
            if level and block == config.num_res_blocks:
                shapes |= layer(f"output_blocks.{index}.{part}.conv", channels, channels, 3, 3)
                rate //= 2
            index += 1
    shapes |= layer("out.0", width) | layer("out.2", config.out_channels, width, 3, 3)
    return random_values(shapes, seed)


def _residual(name: str, inputs: int, outputs: int, embedding: int) -> Shapes:
    shapes = layer(f"{name}.in_layers.0", inputs) | layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
    shapes |= layer(f"{name}.emb_layers.1", outputs, embedding)
    shapes |= layer(f"{name}.out_layers.0", outputs) | layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
    return shapes | (layer(f"{name}.skip_connection", outputs, inputs, 1, 1) if inputs != outputs else {})


def _transformer(name: str, width: int, context: int) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = layer(f"{name}.norm", width) | layer(f"{name}.proj_in", width, width, 1, 1)
    for attention, inputs in (("attn1", width), ("attn2", context)):
        shapes |= layer(f"{block}.{attention}.to_q", width, width, bias=False)
        shapes |= layer(f"{block}.{attention}.to_k", width, inputs, bias=False)
        shapes |= layer(f"{block}.{attention}.to_v", width, inputs, bias=False)
        shapes |= layer(f"{block}.{attention}.to_out.0", width, width)
    shapes |= layer(f"{block}.ff.net.0.proj", 8 * width, width) | layer(f"{block}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= layer(f"{block}.{norm}", width)
    return shapes | layer(f"{name}.proj_out", width, width, 1, 1)


def ldm_state(config: UNetConfig, first_stage: VQConfig, seed: int = 0, averaged: bool = True) -> dict[str, Tensor]:
    """The `state_dict` of a checkpoint: schedule, U-Net (raw: `seed`, averaged: `seed + 1`), first stage, embedder."""
    raw, average = unet_state(config, seed), unet_state(config, seed + 1)
    state = {name: torch.linspace(0, 1, 1000) for name in SCHEDULE_BUFFERS}
    state |= {f"model.diffusion_model.{name}": value for name, value in raw.items()}
    if averaged:
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(400_000)}
        state |= {f"model_ema.diffusion_model{name.replace('.', '')}": value for name, value in average.items()}
    state |= {f"first_stage_model.{name}": value for name, value in first_stage_state(first_stage, seed).items()}
    rows = config.num_classes + config.null_class
    return state | random_values({"cond_stage_model.embedding.weight": (rows, config.context_dim)}, seed)


def write_ldm(path: Path, config: UNetConfig, first_stage: VQConfig, seed: int = 0, legacy: bool = False) -> Path:
    """Write the published file."""
    return write_lightning(path, ldm_state(config, first_stage, seed), legacy)
