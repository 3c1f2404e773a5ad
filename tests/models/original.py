"""Our networks' weights under the names of the original checkpoints, to make files in the official layouts."""

import re

from diffusers import VQModel
from torch import Tensor

from models.networks.unet import OUTER, RESNET, ClassConditionalUNet
from models.networks.vq import ATTENTION

UNET_OUTER = {new: old for old, new in OUTER.items()}
UNET_RESNET = {new: old for old, new in RESNET.items()}
VQ_ATTENTION = {new: old for old, new in ATTENTION.items()}


def original_unet_state(network: ClassConditionalUNet) -> dict[str, Tensor]:
    """The state dict of an LDM checkpoint: raw weights, a class embedder, and what else such a file holds."""
    blocks = network.config.num_res_blocks + 1
    state = network.unet.state_dict()
    attends = {key.split(".attentions.")[0] for key in state if ".attentions." in key}
    renamed = {f"model.diffusion_model.{_unet_key(key, blocks, attends)}": value for key, value in state.items()}
    return renamed | {"cond_stage_model.embedding.weight": network.embedding.weight.detach()}


def _unet_key(key: str, blocks: int, attends: set[str]) -> str:
    for new, old in UNET_OUTER.items():
        if key.startswith(f"{new}."):
            return old + key.removeprefix(new)
    middle = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key)
    if middle:
        is_resnet = middle[1] == "resnets"
        return f"middle_block.{2 * int(middle[2]) if is_resnet else 1}.{_resnet(middle[3]) if is_resnet else middle[3]}"
    side, level, kind, layer, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", key).groups()
    first = int(level) * blocks + (side == "down")
    prefix = f"{'input' if side == 'down' else 'output'}_blocks"
    if kind == "downsamplers":
        return f"{prefix}.{first + blocks - 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"{prefix}.{first + blocks - 1}.{2 if f'up_blocks.{level}' in attends else 1}.{rest}"
    return f"{prefix}.{first + int(layer)}.{'0.' + _resnet(rest) if kind == 'resnets' else '1.' + rest}"


def _resnet(rest: str) -> str:
    name, _, leaf = rest.rpartition(".")
    return f"{UNET_RESNET[name]}.{leaf}"


def original_vq_state(model: VQModel) -> dict[str, Tensor]:
    """The state dict of a VQ first stage, with the loss that its checkpoint also holds."""
    num_levels = len(model.config.block_out_channels)
    state = {}
    for key, value in model.state_dict().items():
        is_projection = ".attentions." in key and value.ndim == 2
        state[_vq_key(key, num_levels)] = value[..., None, None] if is_projection else value
    return state | {"loss.logvar": next(iter(state.values())).new_zeros(())}


def _vq_key(key: str, num_levels: int) -> str:
    attention = re.fullmatch(r"(.+\.attentions\.\d+)\.([\w.]+)\.(\w+)", key)
    if attention:
        key = f"{attention[1]}.{VQ_ATTENTION[attention[2]]}.{attention[3]}"
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"\.mid_block\.resnets\.(\d)", lambda m: f".mid.block_{int(m[1]) + 1}", key)
    key = key.replace(".mid_block.attentions.0", ".mid.attn_1")
    key = re.sub(r"\.down_blocks\.(\d+)", r".down.\1", key)
    key = re.sub(r"\.up_blocks\.(\d+)", lambda m: f".up.{num_levels - 1 - int(m[1])}", key)
    key = re.sub(r"\.resnets\.(\d+)", r".block.\1", key)
    key = re.sub(r"\.attentions\.(\d+)", r".attn.\1", key)
    return key.replace("downsamplers.0.conv", "downsample.conv").replace("upsamplers.0.conv", "upsample.conv")
