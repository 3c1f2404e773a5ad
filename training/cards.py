"""The files that a trained network ships as: safetensors, and a card that says how it came to be."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from training.trainer import TrainingRecord
from tstitch.runs.atomic import write_atomically
from tstitch.runs.digest import file_sha256


def save_weights(path: Path, module: nn.Module, dtype: torch.dtype) -> None:
    """Write the floating-point tensors of `module` in `dtype`, the others as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in module.state_dict().items()}
    write_atomically(path, save({key: value.contiguous() for key, value in state.items()}))


def write_card(
    weights: Path, command: str, seed: int, record: TrainingRecord, module: nn.Module, **facts: object
) -> None:
    """Write `<weights>.json`: command, seed, images seen, time, loss, checksum and what was measured."""
    card = {
        "file": weights.name,
        "sha256": file_sha256(weights),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "command": command,
        "seed": seed,
        **{key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(record).items()},
        "torch": torch.__version__,
        **facts,
    }
    write_atomically(weights.with_suffix(".json"), f"{json.dumps(card, indent=2)}\n".encode())
