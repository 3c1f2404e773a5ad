"""Folders in the layout of diffusers: one network's `config.json` and weights, alone or inside a pipeline."""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE, PIPELINE_FILE = "config.json", "model_index.json"
WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


def is_folder(path: Path) -> bool:
    """Whether `path` stands for a folder, which need not exist yet."""
    return path.is_dir() or not path.suffix


def network_folder(path: Path, *subfolders: str) -> Path:
    """The folder of a network: `path`, or where that is a pipeline its first existing one of `subfolders`."""
    if (path / CONFIG_FILE).is_file():
        return path
    existing = [path / name for name in subfolders if (path / name).is_dir()]
    return existing[0] if existing else path


def folder_weights(folder: Path) -> Path:
    """The weight file of a network's folder: safetensors where there are several or none."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), folder / WEIGHT_FILES[0])


def folder_files(folder: Path) -> list[Path]:
    """The files that loading a network's folder reads."""
    return [folder / CONFIG_FILE, folder_weights(folder)]
