"""A DiT as a folder in the layout of diffusers, such as `transformer` of facebook/DiT-XL-2-256."""

import re
from pathlib import Path

import torch
from torch import Tensor

from models.networks.dit import DiTConfig, sincos_position_embedding
from models.weights.folders import CONFIG_FILE, build, folder_weights
from models.weights.layouts import dit_state_from_diffusers
from models.weights.read import check_state, read_settings, read_state_dict
from tstitch.errors import UserError

POSITIONS = "pos_embed.pos_embed"


def read_dit_folder(folder: Path, config: DiTConfig) -> dict[str, Tensor]:
    """Read the weights of a DiT of the shape `config`, in the keys of `models.networks.dit.DiT`.

    Raises:
        UserError: a file is missing or damaged, `config.json` has another shape, a key does not fit, or the weights
            differ where a DiT has one embedder for all blocks or a computed table of positions.
    """
    from diffusers import DiTTransformer2DModel

    path, weights = folder / CONFIG_FILE, folder_weights(folder)
    settings = read_settings(path)
    with torch.device("meta"):
        theirs = build(DiTTransformer2DModel, settings, path)
    _check_shape(theirs.config, config, path)
    state = read_state_dict(weights)
    table = sincos_position_embedding(config.hidden_size, config.input_size // config.patch_size)
    stored = state.pop(POSITIONS, table)  # computed by every version of diffusers, so a file need not have it
    check_state(theirs, state, weights)
    if stored.shape != table.shape or not torch.allclose(stored.float(), table, atol=1e-4):
        raise UserError(f"weights {weights}: {POSITIONS!r} is not the table of positions that a DiT computes")
    _check_embedders(state, weights)
    return {**dit_state_from_diffusers(state), "pos_embed": table}


def _check_shape(theirs: dict, config: DiTConfig, path: Path) -> None:
    heads, channels = theirs["num_attention_heads"], theirs["in_channels"]
    shapes = {
        "num_layers": (theirs["num_layers"], config.depth),
        "num_attention_heads": (heads, config.num_heads),
        "num_attention_heads * attention_head_dim": (heads * theirs["attention_head_dim"], config.hidden_size),
        "sample_size": (theirs["sample_size"], config.input_size),
        "patch_size": (theirs["patch_size"], config.patch_size),
        "in_channels": (channels, config.in_channels),
        "out_channels": (channels if theirs["out_channels"] is None else theirs["out_channels"], config.out_channels),
        "num_embeds_ada_norm": (theirs["num_embeds_ada_norm"], config.num_classes),
        "activation_fn": (theirs["activation_fn"], "gelu-approximate"),
        "attention_bias": (theirs["attention_bias"], True),
        "norm_elementwise_affine": (theirs["norm_elementwise_affine"], False),
    }
    for name, (value, wanted) in shapes.items():
        if value != wanted:
            raise UserError(f"{path} has {name} {value}, but the denoiser's configuration wants {wanted}")


def _check_embedders(state: dict[str, Tensor], weights: Path) -> None:
    """Check that all blocks have the same embedders: diffusers keeps a copy in each, a DiT has one."""
    for key, value in state.items():
        if not re.match(r"transformer_blocks\.\d+\.norm1\.emb\.", key):
            continue
        first = re.sub(r"^transformer_blocks\.\d+\.", "transformer_blocks.0.", key)
        if not torch.equal(value, state[first]):
            raise UserError(f"weights {weights}: {key!r} differs from {first!r}; a DiT has one embedder for all blocks")
