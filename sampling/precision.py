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
    facts = CPUINFO.read_text() if CPUINFO.exists() else ""
    # AMX, and AMD's avx512_bf16, multiply bf16 several times as fast as float32. Intel's avx512_bf16 alone does not:
    # DiT-XL for digits took 1.26x the time of float32 on a Xeon that has it without AMX.
    is_fast = "amx_bf16" in facts or ("avx512_bf16" in facts and "AuthenticAMD" in facts)
    return "bf16" if is_fast else "float32"
