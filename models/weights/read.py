"""Readers of weights: safetensors, or checkpoints of PyTorch read as data; checked before they are used."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from checkpoints.read import read_checkpoint, state_dict_of
from tstitch.errors import UserError, explain_error, explain_no_file
from tstitch.runs.json_files import read_json, show_value


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `.safetensors`, or from a checkpoint of PyTorch of any suffix.

    In a checkpoint it lies plain, or under `ema`, `state_dict` or `model`; what else the file holds is left out.
    Nothing in the file is executed.

    Raises:
        UserError: the file is missing, truncated, not of its kind, or holds something else than tensors.
    """
    if not path.is_file():
        raise UserError(f"weights {path} {explain_no_file(path, are_many=True)}")
    if path.suffix != ".safetensors":
        return read_checkpoint(path, state_dict_of)
    try:
        return load_file(path)
    except Exception as error:  # on garbage the reader raises nearly anything
        raise UserError(f"weights {path} cannot be read (truncated, or of another kind): {_first(error)}") from error


def check_state(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Check that `state`, which came from `path`, has the keys, shapes and kinds of numbers of `module`, all finite.

    Raises:
        UserError: names the first key that is missing, unexpected, of another shape or kind of numbers, or holds NaN
            or Inf.
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
        if value.is_floating_point() != wanted[key].is_floating_point():
            raise UserError(f"weights {path}: {key!r} holds {value.dtype}, want {wanted[key].dtype}")
        wide = value.float() if value.itemsize == 1 else value  # eight bits have no test of their own
        if value.is_floating_point() and not torch.isfinite(wide).all():
            raise UserError(f"weights {path}: {key!r} holds NaN or Inf")


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a checked state dict in the module's own keys, in the file's dtype."""
    state = read_state_dict(path)
    check_state(module, state, path)
    module.load_state_dict(state, assign=True)


def read_settings(path: Path) -> dict:
    """Read the JSON object of a folder in diffusers' layout.

    Raises:
        UserError: it is missing, or holds something else.
    """
    try:
        return read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; want a folder in the layout of diffusers") from None


def class_name(path: Path, settings: dict) -> str:
    """Return `_class_name` of the settings that were read from `path`; `UserError` where it is no text."""
    name = settings.get("_class_name")
    if not isinstance(name, str):
        raise UserError(f"{path}: _class_name must be the name of a class of diffusers, got {show_value(name)}")
    return name


def in_line(error: Exception) -> str:
    """Write an error of another package in a line of at most 200 characters."""
    return explain_error(error)


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
