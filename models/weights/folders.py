"""Folders in the layout of diffusers: one network's `config.json` and weights, alone or inside a pipeline."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TypeVar

from torch import nn

from tstitch.errors import UserError, explain_error

CONFIG_FILE, PIPELINE_FILE = "config.json", "model_index.json"
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# What a class was called when its weights were published: diffusers read DiTs as Transformer2DModel until 0.28.
CLASS_NAMES = {"DiTTransformer2DModel": ("DiTTransformer2DModel", "Transformer2DModel")}

Network = TypeVar("Network", bound=nn.Module)


def is_folder(path: Path) -> bool:
    """Tell whether `path` stands for a folder, which need not exist yet."""
    return path.is_dir() or not path.suffix


def network_folder(path: Path, *subfolders: str) -> Path:
    """Return the folder of a network: `path`, or where that is a pipeline its first existing one of `subfolders`."""
    if (path / CONFIG_FILE).is_file():
        return path
    existing = [path / name for name in subfolders if (path / name).is_dir()]
    return existing[0] if existing else path


def folder_weights(folder: Path) -> Path:
    """Return the weight file of a network's folder: safetensors where there are several or none."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), folder / WEIGHT_FILES[0])


def folder_files(folder: Path) -> list[Path]:
    """Return the files that loading a network's folder reads."""
    return [folder / CONFIG_FILE, folder_weights(folder)]


def build(kind: type[Network], config: dict, path: Path) -> Network:
    """Build a network of diffusers, untrained, from the settings in `config`, which came from `path`.

    Settings that today's class does not have are left out, as diffusers does; whether the weights fit shows later.

    Raises:
        UserError: the configuration is another network's, or has a value that the network does not take.
    """
    known = CLASS_NAMES.get(kind.__name__, (kind.__name__,))
    name = config.get("_class_name", kind.__name__)
    if name not in known:
        raise UserError(f"{path} is the configuration of a {name}, want {' or '.join(known)}")
    parameters = inspect.signature(kind.__init__).parameters
    try:
        return kind(**{key: value for key, value in config.items() if key in parameters})
    except Exception as error:  # on a value of another kind the constructors raise nearly anything
        reason = explain_error(error, 120)
        raise UserError(f"{path} is no configuration of {kind.__name__}: {reason}") from error
