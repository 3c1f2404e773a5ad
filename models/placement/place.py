"""A network on its device: dtype, layout in memory, and the kinds of attention and GELU that are fast there."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from models.placement.precision import DTYPES

Network = TypeVar("Network", bound=nn.Module)
LONGEST = 1024  # tokens; the scores of more would take gigabytes


def place(network: Network, precision: str, device: torch.device) -> Network:
    """Move a network to `device` in one of `DTYPES`, in evaluation mode, arranged for speed.

    In float32 nothing is arranged: on a CPU it would change the order of sums. On a GPU nothing is, either: decoding on
    an H100 takes 4 to 17% longer channels-last, in every precision (`benchmarks.layout`).
    """
    dtype = DTYPES[precision]
    # diffusers' own `to` warns wherever it is given a dtype.
    nn.Module.to(network, device, dtype).eval().requires_grad_(False)
    if device.type != "cpu" or dtype == torch.float32:
        return network
    _arrange_for_cpu(network, dtype)
    # As matrix units read the weights of convolutions.
    return network.to(memory_format=torch.channels_last)


class FusedLinear(nn.Module):
    """A linear layer with its bias, and with the GELU (tanh) of its result, in one operation, rounded to bf16 once."""

    def __init__(self, linear: nn.Linear, gelu: bool = False):
        super().__init__()
        self.weight, self.bias, self.gelu = linear.weight, linear.bias, gelu

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # the compiler fuses them itself, where it may
            result = nn.functional.linear(x, self.weight, self.bias)
            return nn.functional.gelu(result, approximate="tanh") if self.gelu else result
        then = ("gelu", [], "tanh") if self.gelu else ("none", [], None)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *then)


def _arrange_for_cpu(network: nn.Module, dtype: torch.dtype) -> None:
    """Give a DiT what a CPU is fast at in a low precision.

    Attention becomes two matrix products, because its fused kernel does not multiply in bf16. In bf16 each product is
    one with its bias, and with the GELU after it, which alone takes longer than the product.
    """
    from models.networks.dit import DiT

    if not isinstance(network, DiT):
        return
    for block in network.blocks:
        attention, mlp = block.attn, block.mlp
        attention.fused_attn = network.pos_embed.shape[-2] > LONGEST
        if dtype == torch.bfloat16 and has_fused_linear():
            attention.qkv, attention.proj = FusedLinear(attention.qkv), FusedLinear(attention.proj)
            mlp.fc1, mlp.act, mlp.fc2 = FusedLinear(mlp.fc1, gelu=True), nn.Identity(), FusedLinear(mlp.fc2)


def has_fused_linear() -> bool:
    """Tell whether this CPU and this build of PyTorch have what `FusedLinear` calls (as the compiler does)."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
