"""Muon on the hidden matrices, AdamW on everything else, one learning-rate curve for both."""

import math
from dataclasses import dataclass

import torch
from torch import nn

HIDDEN = ("blocks.", "unet.")  # where a DiT and a U-Net keep their hidden layers


@dataclass(frozen=True)
class OptimizerSettings:
    """Learning rates; `muon_lr` is None where AdamW trains every parameter. The betas are AdamW's.

    `is_constant` keeps the rates after the warm-up, as DiT's training does; else they fall like a cosine.
    Muon's updates are orthogonal matrices times its rate, so one rate fits networks of any width.
    """

    adamw_lr: float
    muon_lr: float | None = None
    weight_decay: float = 0.0
    warmup_iterations: int = 100
    is_constant: bool = False
    beta1: float = 0.9
    beta2: float = 0.99
    clip_norm: float | None = 1.0


def make_optimizers(module: nn.Module, settings: OptimizerSettings) -> list[torch.optim.Optimizer]:
    """Make an AdamW, and a Muon for the matrices of the hidden layers where `muon_lr` is set."""
    hidden = []
    if settings.muon_lr is not None:
        hidden = [p for name, p in module.named_parameters() if name.startswith(HIDDEN) and p.ndim == 2]
    hidden_ids = {id(p) for p in hidden}
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in hidden_ids]
    adamw = torch.optim.AdamW(
        rest,
        lr=settings.adamw_lr,
        weight_decay=settings.weight_decay,
        betas=(settings.beta1, settings.beta2),
        fused=rest[0].is_cuda,
    )
    if not hidden:
        return [adamw]
    return [adamw, torch.optim.Muon(hidden, lr=settings.muon_lr, weight_decay=settings.weight_decay)]


def learning_rate_factor(iteration: int, iterations: int, warmup: int, is_constant: bool = False) -> float:
    """Return the factor of a linear warm-up, then one, or a cosine that reaches zero at the last iteration."""
    if iteration < warmup:
        return (iteration + 1) / warmup
    if is_constant:
        return 1.0
    progress = (iteration - warmup) / max(1, iterations - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
