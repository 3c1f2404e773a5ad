"""DiT checkpoints: `dit_s_256`, `dit_b_256`, `dit_xl_256`, `dit_xl_512`.

Looked up: facebookresearch/DiT, `models.py` (names and shapes), `download.py` (`find_model` takes `ema` where there is
one; the two published files are state dicts without a wrapper), `train.py` (a checkpoint is `model`, `ema`, `opt` and
`args`, an `argparse.Namespace`). NVlabs/T-Stitch, `dit/sample_ddp_t_stitch.py`: DiT-S and DiT-B go through the same
`find_model`; they are later checkpoints of `train.py`. All were written after 2022, so in the zip format.
"""

import argparse
from pathlib import Path

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from models.networks.dit import DiTConfig
from tests.published.torch_files import random_values, save


def dit_state(config: DiTConfig, seed: int = 0) -> dict[str, Tensor]:
    """The state dict of `models.py`; `pos_embed` is a parameter there and so is in the file."""
    width, inner = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    patch, side = config.patch_size, config.input_size // config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "x_embedder.proj.weight": (width, config.in_channels, patch, patch),
        "x_embedder.proj.bias": (width,),
        "t_embedder.mlp.0.weight": (width, 256),
        "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width),
        "t_embedder.mlp.2.bias": (width,),
        "y_embedder.embedding_table.weight": (config.num_classes + 1, width),
    }
    linears = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (inner, width),
               "mlp.fc2": (width, inner), "adaLN_modulation.1": (6 * width, width)}  # fmt: skip
    final = {"linear": (patch**2 * config.out_channels, width), "adaLN_modulation.1": (2 * width, width)}
    named = [(f"blocks.{block}.{name}", shape) for block in range(config.depth) for name, shape in linears.items()]
    for name, shape in [*named, *((f"final_layer.{name}", shape) for name, shape in final.items())]:
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    table = get_2d_sincos_pos_embed(width, side, base_size=side, output_type="pt").float()
    return {"pos_embed": table[None], **random_values(shapes, seed)}


def write_dit(path: Path, config: DiTConfig, seed: int = 0) -> Path:
    """Write the published file: the averaged weights alone."""
    return save(dit_state(config, seed), path)


def write_dit_under_ema(path: Path, config: DiTConfig, seed: int = 0) -> Path:
    """Write the averaged weights under `ema`, as `find_model` takes them too."""
    return save({"ema": dit_state(config, seed)}, path)


def write_dit_training(path: Path, config: DiTConfig, seed: int = 0, legacy: bool = False) -> Path:
    """Write a checkpoint of `train.py`. Its `model` differs from its `ema`, whose `seed` is given."""
    model, ema = dit_state(config, seed + 1), dit_state(config, seed)
    moments = {
        index: {"step": torch.tensor(400.0), "exp_avg": torch.zeros_like(value), "exp_avg_sq": torch.ones_like(value)}
        for index, value in enumerate(list(model.values())[:3])
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "params": list(moments)}
    args = argparse.Namespace(data_path="/imagenet/train", results_dir="results", model="DiT-S/2", image_size=256,
                              num_classes=1000, epochs=1400, global_batch_size=256, vae="ema")  # fmt: skip
    content = {"model": model, "ema": ema, "opt": {"state": moments, "param_groups": [group]}, "args": args}
    return save(content, path, legacy)
