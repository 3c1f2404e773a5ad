"""Why two denoisers cannot share a trajectory, as far as their configurations tell."""

import inspect
import re
from collections.abc import Iterator, Sequence

from torch import nn

from tstitch.dropin.holders import pipelines_of
from tstitch.errors import UserError
from tstitch.solvers.scheduler_convention import schedule_reasons

# A run is possible, and the user may know better; `schedule` converts between the two.
WAIVABLE = ("sample_size", "guidance_embedding", "prediction_type", "schedule")
TEXT_WIDTH = ("caption_channels", "joint_attention_dim", "text_dim", "encoder_hid_dim", "cross_attention_dim")
POOLED_TEXT = (
    "addition_embed_type", "projection_class_embeddings_input_dim", "addition_time_embed_dim", "pooled_projection_dim",
    "use_additional_conditions",
)  # fmt: skip
CHECKS = {
    ("in_channels", "out_channels"): "the latents of one do not fit the other",
    ("sample_size", "patch_size"): "they follow other rules for the size of images",
    POOLED_TEXT: "the pipeline prepares pooled text and sizes for the large one only",
    ("num_embeds_ada_norm", "class_embed_type", "encoder_hid_dim_type"): "they take other conditions",
    ("time_cond_proj_dim", "guidance_embeds"): "only one of them takes the guidance scale as an input",
}
CHECKED = {*sum(CHECKS, ()), *TEXT_WIDTH, "block_out_channels", "_name_or_path", "get", "_diffusers_version"}
CHECKED |= {"sample_height", "sample_width", "sample_frames"}  # a call may set them
WIDTH = ("hidden_size", "inner_dim", "dim")
WAIVERS = dict.fromkeys(("sample_size", "patch_size"), "sample_size")
WAIVERS |= dict.fromkeys(("time_cond_proj_dim", "guidance_embeds"), "guidance_embedding")


def check_fits(
    small: nn.Module, small_pipe: object | None, large: nn.Module, pipe: object, allow: Sequence[str]
) -> None:
    """Raise `UserError` with every reason why `small` cannot take steps of `pipe` around `large`.

    Args:
        small_pipe: the pipeline that `small` came in, if any: it tells the prediction type.
        allow: of `WAIVABLE`, differences that do not matter to the user.
    """
    if not set(allow) <= set(WAIVABLE):
        raise UserError(f"allow may hold {', '.join(WAIVABLE)}, got {', '.join(allow)}")
    if reasons := list(_reasons(small, small_pipe, large, pipe, allow)):
        raise UserError(f"the small {small.__class__.__name__} does not fit: {'; '.join(reasons)}")


def _reasons(
    small: nn.Module, small_pipe: object, large: nn.Module, pipe: object, allow: Sequence[str]
) -> Iterator[str]:
    kinds = [getattr(each, "_orig_mod", each).__class__.__name__ for each in (small, large)]
    if kinds[0] != kinds[1] or not hasattr(small, "config"):
        yield f"it is called in another way than a {kinds[1]}; give one made as the pipeline makes its own"
        return
    for keys, reason in CHECKS.items():
        for key in (key for key in keys if WAIVERS.get(key) not in allow):
            # From disk a tuple is a list.
            values = [list(v) if isinstance(v := each.config.get(key), tuple) else v for each in (small, large)]
            if (values[0] or None) != (values[1] or None):
                waiver = f" (allow=['{WAIVERS[key]}'] lets it pass)" if key in WAIVERS else ""
                yield f"{key} is {values[0]}, the large one's {values[1]}: {reason}{waiver}"
    widths = [next((each.config[key] for key in TEXT_WIDTH if each.config.get(key)), None) for each in (small, large)]
    if widths[0] != widths[1]:
        yield f"text width is {widths[0]}, the large one's {widths[1]}: they read the output of other text encoders"
    for what, values in prepared_by(pipe, small, large):
        if values[0] != values[1]:
            yield f"{what} is {values[0]}, the large one's {values[1]}: the pipeline prepares inputs by the latter"
    if "self.unet.mid_block.attentions" in _source(pipe):
        yield "the pipeline reads attention within its denoiser, and would read that of the large one alone"
    if any(getattr(pipe, name, None) is not None for name in ("controlnet", "adapter")):
        shapes = [residual_shapes(each.config) for each in (small, large)]
        if shapes[0] != shapes[1]:
            yield f"its blocks are {shapes[0]}, the large one's {shapes[1]}: a ControlNet fits only one"
    if small.dtype != large.dtype:
        yield f"its dtype is {small.dtype}, the large one's {large.dtype}: load both in the same"
    yield from schedule_reasons(small, small_pipe, pipe, allow)


def prepared_by(pipe: object, *denoisers: nn.Module) -> Iterator[tuple[str, list[object]]]:
    """Yield what a pipeline reads of its denoiser (keys, sizes of heads, numbers of layers), with each one's value."""
    source = _source(pipe)
    keys = set(re.findall(r"(?:unet|transformer)\.config(?:\.get\(\"|\[\"|\.)(\w+)", source)) - CHECKED
    for key in sorted(keys | ({"attention_head_dim"} if "inner_dim // self.transformer" in source else set())):
        yield key, [each.config.get(key) for each in denoisers]
    for name in sorted(set(re.findall(r"len\(self\.(?:unet|transformer)\.(\w+)\)", source))):
        yield f"the length of {name}", [len(getattr(each, name)) for each in denoisers]


def _source(pipe: object) -> str:
    kinds = {kind for each in pipelines_of(pipe) for kind in type(each).__mro__}
    return "\n".join(inspect.getsource(each) for each in kinds if each.__module__.startswith("diffusers.pipelines."))


def residual_shapes(config: dict) -> tuple:
    """Return what decides the outputs of a ControlNet: a UNet's channels, layers and mid block, or the width."""
    if config.get("block_out_channels"):
        return tuple(config["block_out_channels"]), config.get("layers_per_block"), bool(config.get("mid_block_type"))
    heads = [config.get(key) for key in ("num_attention_heads", "attention_head_dim")]
    return (heads[0] * heads[1] if all(heads) else next((config[key] for key in WIDTH if config.get(key)), None),)
