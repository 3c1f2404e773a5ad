"""IP-Adapters: image embeddings that a pipeline passes to all denoisers, and which of them read these."""

from collections.abc import Sequence

from torch import nn

from tstitch.errors import UserError

INPUTS = {  # argument of a denoiser -> the key in it
    "added_cond_kwargs": "image_embeds", "joint_attention_kwargs": "ip_adapter_image_embeds",
    "attention_kwargs": "ip_adapter_image_embeds",
}  # fmt: skip


def has_ip_adapter(denoiser: nn.Module) -> bool:
    """Tell whether an IP-Adapter is loaded into a UNet or a transformer."""
    denoiser = getattr(denoiser, "_orig_mod", denoiser)
    if hasattr(denoiser, "down_blocks"):
        # It is set as an attribute, not as a key.
        return getattr(denoiser.config, "encoder_hid_dim_type", None) == "ip_image_proj"
    return any(getattr(denoiser, name, None) is not None for name in ("encoder_hid_proj", "image_proj"))


def check_image_prompt(denoisers: Sequence[nn.Module], indices: Sequence[int], arguments: dict) -> None:
    """Raise `UserError` where a call has image embeddings and one of the denoisers of this run would ignore them.

    Args:
        denoisers: all of them.
        indices: of those that take a step in this run.
        arguments: keyword arguments of the call.
    """
    if not any((arguments.get(name) or {}).get(key) is not None for name, key in INPUTS.items()):
        return
    without = [index for index in indices if not has_ip_adapter(denoisers[index])]
    if without and any(map(has_ip_adapter, denoisers)):
        raise UserError(
            f"the call has an image prompt, and denoiser {' and '.join(map(str, without))} has no IP-Adapter and would "
            f"ignore it; load one that was made for it (within addressing({without[0]}), or into each pipeline before "
            "stitch), give it no steps (fraction=0), or pipe.unload_ip_adapter()"
        )


def differing_scales(denoisers: Sequence[nn.Module]) -> list[list[float]]:
    """List the scales of the IP-Adapter of each denoiser, where they are not the same in all of them."""
    scales = [
        sorted({scale for each in denoiser.attn_processors.values() for scale in _scales(each)})
        for denoiser in denoisers
        if has_ip_adapter(denoiser)
    ]
    return scales if any(each != scales[0] for each in scales) else []


def _scales(processor: object) -> list[float]:
    scale = getattr(processor, "scale", [])
    return scale if isinstance(scale, list) and all(isinstance(each, int | float) for each in scale) else []
