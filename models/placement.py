"""A network on its device: dtype, layout in memory, and the kind of attention that is fast there."""

from typing import TypeVar

import torch
from torch import nn

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
        _attend_by_products(network)
    # As matrix units read the weights of convolutions.
    return network.to(memory_format=torch.channels_last)


def _attend_by_products(network: nn.Module) -> None:
    """Let a DiT's attention be two matrix products, which a CPU multiplies in bf16; its fused kernel does not."""
    from models.dit import DiT

    if not isinstance(network, DiT) or network.pos_embed.shape[-2] > LONGEST:
        return
    for block in network.blocks:
        block.attn.fused_attn = False
