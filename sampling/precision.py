"""Precisions as a user asks for them: one for all denoisers or one for each, `auto` by what the device can do."""

import warnings
from pathlib import Path

import torch

from tstitch.errors import UserError

CPUINFO = Path("/proc/cpuinfo")


def choose_precisions(value: str | list[str], num_denoisers: int, device: str) -> list[str]:
    """Choose the precision of each denoiser, from a name for all of them or a list; `auto` by what the device can do.

    Raises:
        UserError: a list of another length.
    """
    names = value if isinstance(value, list) else [value] * num_denoisers
    if len(names) != num_denoisers:
        raise UserError(f"precision needs one value or {num_denoisers}, got {names}")
    return [_auto(device) if name == "auto" else choose_precision(name, "precision", device) for name in names]


def show_precisions(precisions: list[str]) -> str:
    """The value that asks for these: a single name where all are equal, else a list."""
    return precisions[0] if len(set(precisions)) == 1 else f"[{','.join(precisions)}]"


def on_cpu(device: str) -> bool:
    """Tell whether the setting `device` means a CPU here."""
    return device == "cpu" or not torch.cuda.is_available()


def choose_precision(name: str, key: str, device: str) -> str:
    """Choose what a precision of the setting `key` means on a device: `tf32` has no effect on a CPU."""
    if name == "tf32" and on_cpu(device):
        warnings.warn(f"{key}=tf32 has no effect on a CPU; it is float32 here", stacklevel=2)
        return "float32"
    return name


def _auto(device: str) -> str:
    if not on_cpu(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = CPUINFO.read_text() if CPUINFO.exists() else ""
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
