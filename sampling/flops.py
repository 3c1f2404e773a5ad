"""Floating-point operations of a denoiser, counted without its weights."""

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.pair import DenoiserSpec, build_denoiser


@cache
def count_flops(spec: DenoiserSpec, attention: bool = True) -> int:
    """Floating-point operations (two for a multiply-accumulate) of one evaluation for one image. Needs no weights.

    Without `attention`, its two products of tokens with tokens are left out, as in the paper's tables.
    """
    with torch.device("meta"):
        denoiser, config = build_denoiser(spec), spec.config
        latents = torch.zeros(1, config.in_channels, config.input_size, config.input_size)
        timestep = torch.zeros(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            denoiser(latents, timestep, denoiser.conditional(timestep))
    by_operation = counter.get_flop_counts()["Global"]
    products = ("bmm", "scaled_dot_product")
    return sum(
        flops
        for operation, flops in by_operation.items()
        if attention or not any(p in str(operation) for p in products)
    )
