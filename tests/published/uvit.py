"""U-ViT checkpoints: `uvit_h_256`.

Looked up: baofff/U-ViT, `libs/uvit.py` (names and shapes; no bias in `qkv`, LayerNorm with both parameters),
`configs/imagenet256_uvit_huge.py` (`num_classes` 1001, `conv` false, no MLP on the time), `eval_ldm_discrete.py` (the
published file is a state dict without a wrapper).
"""

from pathlib import Path

from torch import Tensor

from models.networks.uvit import UViTConfig
from tests.published.torch_files import random_values, save


def uvit_state(config: UViTConfig, seed: int = 0) -> dict[str, Tensor]:
    """The state dict of `uvit.py` for class-conditional latents."""
    width, inner, patch = config.hidden_size, int(config.hidden_size * config.mlp_ratio), config.patch_size
    tokens, channels = (config.input_size // patch) ** 2 + 2, config.in_channels
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
        "label_emb.weight": (config.num_classes + 1, width),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "decoder_pred.weight": (patch**2 * channels, width),
        "decoder_pred.bias": (patch**2 * channels,),
    }
    names = [f"{side}.{index}" for side in ("in_blocks", "out_blocks") for index in range(config.depth // 2)]
    for name in [*names, "mid_block"]:
        shapes |= {f"{name}.{norm}.{leaf}": (width,) for norm in ("norm1", "norm2") for leaf in ("weight", "bias")}
        shapes |= {f"{name}.attn.qkv.weight": (3 * width, width), f"{name}.attn.proj.weight": (width, width)}
        shapes |= {f"{name}.mlp.fc1.weight": (inner, width), f"{name}.mlp.fc2.weight": (width, inner)}
        biases = {"attn.proj": width, "mlp.fc1": inner, "mlp.fc2": width}
        shapes |= {f"{name}.{layer}.bias": (size,) for layer, size in biases.items()}
        if name.startswith("out_blocks"):
            shapes |= {f"{name}.skip_linear.weight": (width, 2 * width), f"{name}.skip_linear.bias": (width,)}
    if config.conv:
        shapes |= {"final_layer.weight": (channels, channels, 3, 3), "final_layer.bias": (channels,)}
    return random_values(shapes, seed)


def write_uvit(path: Path, config: UViTConfig, seed: int = 0) -> Path:
    """Write the published file."""
    return save(uvit_state(config, seed), path)
