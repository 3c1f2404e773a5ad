"""The official checkpoint layouts, each turned into the keys of our modules.

A layout's function takes the raw state dict and gives one that `load_state_dict` of our module accepts.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor, cat

from models.networks.unet import convert_unet_keys
from models.networks.vq import convert_vq_keys
from tstitch.errors import UserError

State = dict[str, Tensor]
UNET_PREFIX, EMA_PREFIX, FIRST_STAGE_PREFIX = "model.diffusion_model.", "model_ema.", "first_stage_model."
EMBEDDING_KEY = "cond_stage_model.embedding.weight"


def unet_state(state: Mapping[str, Tensor], num_res_blocks: int, use_ema: bool) -> State:
    """Read `ClassConditionalUNet` from an LDM checkpoint: raw or averaged U-Net weights, and its class embedder.

    The average stores the same names without dots and knows the U-Net only; the embedder is the raw one.

    Raises:
        UserError: there are no weights of the kind asked for.
    """
    unet = {key.removeprefix(UNET_PREFIX): value for key, value in state.items() if key.startswith(UNET_PREFIX)}
    if not unet:
        raise UserError(f"no key starts with {UNET_PREFIX!r}: not an LDM checkpoint")
    if use_ema:
        averaged = {key: f"{EMA_PREFIX}diffusion_model{key.replace('.', '')}" for key in unet}
        missing = [name for name in averaged.values() if name not in state]
        if missing:
            raise UserError(f"no averaged weights (key {missing[0]!r} is missing); use ema=false for the raw ones")
        unet = {key: state[name] for key, name in averaged.items()}
    if EMBEDDING_KEY not in state:
        raise UserError(f"the key {EMBEDDING_KEY!r} is missing")
    converted = convert_unet_keys(unet, num_res_blocks)
    return {f"unet.{key}": value for key, value in converted.items()} | {"embedding.weight": state[EMBEDDING_KEY]}


def vq_state(state: Mapping[str, Tensor], num_levels: int) -> State:
    """Read `VQModel` from a first-stage checkpoint, or from an LDM checkpoint that holds one; losses are left out."""
    if any(key.startswith(FIRST_STAGE_PREFIX) for key in state):
        state = {k.removeprefix(FIRST_STAGE_PREFIX): v for k, v in state.items() if k.startswith(FIRST_STAGE_PREFIX)}
    return convert_vq_keys({key: value for key, value in state.items() if not key.startswith("loss.")}, num_levels)


# diffusers 0.13 made one class of its attentions and renamed the one of autoencoders, whose weights had been published.
# Source: the table of renamed keys in `ModelMixin` of diffusers, which its `from_pretrained` applies.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def rename_old_attention(state: Mapping[str, Tensor]) -> State:
    """Rename the attention of a diffusers autoencoder, as published until 2022, to the names of today.

    Its projections may be 1x1 convolutions, which are linear layers of the same weights.

    Raises:
        UserError: a projection is there under both names.
    """
    renamed: State = {}
    for key, value in state.items():
        attention = re.fullmatch(r"(.+\.attentions\.\d+)\.([\w.]+)\.(weight|bias)", key)
        if attention is not None:
            key = f"{attention[1]}.{OLD_ATTENTION.get(attention[2], attention[2])}.{attention[3]}"
            value = value[..., 0, 0] if value.shape[2:] == (1, 1) else value
        if key in renamed:
            raise UserError(f"the key {key!r} is there twice, under its name of today and under the one of 2022")
        renamed[key] = value
    return renamed


def dit_state_from_diffusers(state: Mapping[str, Tensor]) -> State:
    """Read `DiT` from diffusers' `DiTTransformer2DModel`.

    diffusers repeats the timestep and label embedders in every block; ours come from the first. It
    computes the position table; ours does too, so that key is absent here.
    """
    converted: State = {}
    for key, value in state.items():
        new = _from_diffusers(key)
        if new is not None:
            converted[new] = value
    for index in sorted(
        {int(m[1]) for key in state if (m := re.match(r"transformer_blocks\.(\d+)\.attn1\.to_q", key))}
    ):
        for leaf in ("weight", "bias"):
            names = [f"transformer_blocks.{index}.attn1.to_{part}.{leaf}" for part in "qkv"]
            converted[f"blocks.{index}.attn.qkv.{leaf}"] = cat([state[name] for name in names])
    return converted


DIFFUSERS_DIT: list[tuple[str, Callable[[re.Match], str]]] = [
    (r"pos_embed\.proj\.(\w+)", lambda m: f"x_embedder.proj.{m[1]}"),
    (
        r"transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_(\d)\.(\w+)",
        lambda m: f"t_embedder.mlp.{2 * int(m[1]) - 2}.{m[2]}",
    ),
    (
        r"transformer_blocks\.0\.norm1\.emb\.class_embedder\.embedding_table\.weight",
        lambda _: "y_embedder.embedding_table.weight",
    ),
    (r"transformer_blocks\.(\d+)\.norm1\.linear\.(\w+)", lambda m: f"blocks.{m[1]}.adaLN_modulation.1.{m[2]}"),
    (r"transformer_blocks\.(\d+)\.attn1\.to_out\.0\.(\w+)", lambda m: f"blocks.{m[1]}.attn.proj.{m[2]}"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(\w+)", lambda m: f"blocks.{m[1]}.mlp.fc1.{m[2]}"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.(\w+)", lambda m: f"blocks.{m[1]}.mlp.fc2.{m[2]}"),
    (r"proj_out_1\.(\w+)", lambda m: f"final_layer.adaLN_modulation.1.{m[1]}"),
    (r"proj_out_2\.(\w+)", lambda m: f"final_layer.linear.{m[1]}"),
]


def _from_diffusers(key: str) -> str | None:
    for pattern, rename in DIFFUSERS_DIT:
        match = re.fullmatch(pattern, key)
        if match:
            return rename(match)
    return None
