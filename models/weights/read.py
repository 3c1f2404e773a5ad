"""Readers of weights: safetensors, or checkpoints of PyTorch read as data; checked before they are used."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from checkpoints.read import read_checkpoint, state_dict_of
from tstitch.errors import UserError


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `.safetensors`, or from a checkpoint of PyTorch of any suffix.

    In a checkpoint it lies plain, or under `ema`, `state_dict` or `model`; what else the file holds is left out.
    Nothing in the file is executed.

    Raises:
        UserError: the file is missing, truncated, not of its kind, or holds something else than tensors.
    """
    if not path.is_file():
        raise UserError(f"weights {path} do not exist")
    if path.suffix != ".safetensors":
        return read_checkpoint(path, state_dict_of)
    try:
        return load_file(path)
    except Exception as error:  # on garbage the reader raises nearly anything
        raise UserError(f"weights {path} cannot be read (truncated, or of another kind): {_first(error)}") from error


def check_state(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Check that `state`, which came from `path`, has the very keys and shapes of `module`, every value finite.

    Raises:
        UserError: names the first key that is missing, unexpected, of another shape, or holds NaN or Inf.
    """
    wanted = module.state_dict()
    for key in wanted:
        if key not in state:
            raise UserError(f"weights {path} lack the key {key!r}")
    for key, value in state.items():
        if key not in wanted:
            raise UserError(f"weights {path} have the unexpected key {key!r}")
        if value.shape != wanted[key].shape:
            raise UserError(f"weights {path}: {key!r} has shape {tuple(value.shape)}, want {tuple(wanted[key].shape)}")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"weights {path}: {key!r} holds NaN or Inf")


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a checked state dict in the module's own keys, in the file's dtype."""
    state = read_state_dict(path)
    check_state(module, state, path)
    module.load_state_dict(state, assign=True)


def read_config(path: Path) -> dict:
    """Read a JSON object; `UserError` where it is missing or malformed."""
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; want a folder in the layout of diffusers") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a JSON object")
    return config


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
