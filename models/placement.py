"""A network on its device: dtype, layout in memory, and the kinds of attention and GELU that are fast there."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from models.precision import DTYPES

Network = TypeVar("Network", bound=nn.Module)
LONGEST = 1024  # tokens; the scores of more would take gigabytes


def place(network: Network, precision: str, device: torch.device) -> Network:
    """Move a network to `device` in one of `DTYPES`, in evaluation mode, arranged for speed.

    In float32 on a CPU nothing is arranged, where it would change the order of sums.
    """
    dtype = DTYPES[precision]
    # diffusers' own `to` warns wherever it is given a dtype.
    nn.Module.to(network, device, dtype).eval().requires_grad_(False)
    if device.type == "cpu" and dtype == torch.float32:
        return network
    if device.type == "cpu":
        _arrange_for_cpu(network, dtype)
    # As matrix units read the weights of convolutions.
    return network.to(memory_format=torch.channels_last)


class LinearGelu(nn.Module):
    """A linear layer and the GELU (tanh) of its result, which is taken before it is rounded to bf16."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # the compiler fuses them itself, where it may
            return nn.functional.gelu(nn.functional.linear(x, self.weight, self.bias), approximate="tanh")
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "gelu", [], "tanh")


def _arrange_for_cpu(network: nn.Module, dtype: torch.dtype) -> None:
    """Give a DiT what a CPU is fast at in a low precision.

    Attention becomes two matrix products, because its fused kernel does not multiply in bf16. In bf16 each GELU becomes
    part of the product before it, because alone it takes longer than that.
    """
    from models.dit import DiT

    if not isinstance(network, DiT):
        return
    for block in network.blocks:
        block.attn.fused_attn = network.pos_embed.shape[-2] > LONGEST
        if dtype == torch.bfloat16 and has_fused_gelu():
            block.mlp.fc1, block.mlp.act = LinearGelu(block.mlp.fc1), nn.Identity()


def has_fused_gelu() -> bool:
    """Whether this CPU and this build of PyTorch have what `LinearGelu` calls: the operation that its compiler uses."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
