"""Tiny diffusers models: a class's own signature, with each size replaced by a small one."""

import inspect

import torch
from torch import nn

from tests.pipelines.tiny.encoders import WIDTH
from tests.pipelines.tiny.settings import OWN

HEADS, HEAD = 2, 16  # HEADS * HEAD is WIDTH, so that widths that must agree do
LAYERS = {
    "num_layers", "num_single_layers", "num_mmdit_layers", "num_single_dit_layers", "depth", "n_layers",
    "num_hidden_layers", "num_refiner_layers", "n_refiner_layers", "num_double_layers", "num_transformer_blocks",
    "num_lyric_encoder_hidden_layers", "num_timbre_encoder_hidden_layers", "num_attention_pooler_hidden_layers",
    "nlayers", "num_text_blocks", "num_visual_blocks",
}  # fmt: skip
WIDTHS = (
    "hidden_size", "dim", "inner_dim", "embed_dim", "model_dim", "cross_attention_dim", "caption_projection_dim",
    "ffn_dim", "ff_dim", "intermediate_size", "joint_attention_dim", "text_dim", "caption_channels", "freq_dim",
    "pooled_projection_dim", "text_embed_dim", "cap_feat_dim", "pooled_text_dim", "text_embed_2_dim", "in_text_dim",
    "in_text_dim2", "time_dim", "text_hidden_dim", "cond_token_dim", "global_cond_dim", "cross_attention_input_dim",
    "encoder_hidden_size", "cond_embed_dim", "context_in_dim", "text_in_dim", "time_embed_dim", "text_embed_dim_t5",
    "text_states_dim", "caption_dim", "text_feature_dim", "cross_attention_dim_t5", "condition_dim", "conditioning_dim",
    "timestep_features_dim",
)  # fmt: skip
NUM_HEADS = (
    "num_attention_heads", "num_heads", "n_heads", "num_key_value_heads", "n_kv_heads", "num_kv_heads",
    "num_cross_attention_heads", "num_key_value_attention_heads",
)  # fmt: skip
SIZES = {
    **dict.fromkeys(NUM_HEADS, HEADS),
    **dict.fromkeys(("attention_head_dim", "head_dim", "cross_attention_head_dim"), HEAD),
    **dict.fromkeys(WIDTHS, WIDTH),
    "axes_dims_rope": (4, 4, 8), "axes_dims": [4, 4, 8], "axes_dim_rope": (4, 4, 8), "rope_axes_dim": (4, 4, 8),
    "norm_num_groups": 4, "dropout": 0.0,
}  # fmt: skip
PER_BLOCK = (
    "block_out_channels",
    "encoder_block_out_channels",
    "decoder_block_out_channels",
    "decode_block_out_channels",
)


def build(kind: type, size: str = "large", **own: object) -> nn.Module:
    """Make a tiny model with random weights, none of them zero.

    Args:
        size: `large` has two layers where `small` has one; `equal` has two with other weights.
        own: settings that replace the rules'.
    """
    num_layers = {"small": 1, "equal": 2, "large": 2}[size]
    settings: dict[str, object] = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        default = parameter.default
        if name in LAYERS and isinstance(default, int | type(inspect.Parameter.empty)):
            settings[name] = num_layers
        elif name == "llama_layers":
            settings[name] = list(range(2 * num_layers))
        elif name in PER_BLOCK and isinstance(default, tuple | list):
            settings[name] = type(default)([8] * len(default))
        elif "layers_per_block" in name and "transformer" not in name and default is not None:
            settings[name] = type(default)([1] * len(default)) if isinstance(default, tuple | list) else 1
        elif name in SIZES and default is not None:
            wanted = SIZES[name]
            fits = not isinstance(default, tuple | list) or len(default) == len(
                wanted if isinstance(wanted, tuple | list) else []
            )
            settings[name] = wanted if fits else _spread(default)
    torch.manual_seed({"small": 11, "equal": 12, "large": 13}[size])
    settings |= {**OWN.get(kind.__name__, {}), **own}
    hidden = {name: settings.pop(name) for name in list(settings) if name not in inspect.signature(kind).parameters}
    model = kind(**settings).eval()
    if hidden:  # what the configurations of published weights have beyond the arguments
        model.register_to_config(**hidden)
    for parameter in model.parameters():
        if parameter.is_floating_point() and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def _spread(default: tuple | list) -> tuple | list:
    """Share HEAD out among as many axes, in even numbers."""
    first = HEAD - 2 * (len(default) - 1) * (HEAD // (2 * len(default)))
    each = 2 * (HEAD // (2 * len(default)))
    rest = HEAD - each * (len(default) - 1)
    return type(default)([rest, *[each] * (len(default) - 1)]) if first >= 0 else default
