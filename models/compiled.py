"""Networks compiled by torch.compile: one fixed batch size, compiled on first use, cached on disk by PyTorch."""

import os
import shutil

import torch

from models.pair import Pair
from tstitch.errors import UserError

MODES = ("none", "default")


def check_compile_mode(mode: str, device: str) -> None:
    """Raise `UserError` for an unknown mode, or where there is no C++ compiler for the CPU's code."""
    if mode not in MODES:
        raise UserError(f"unknown compile mode {mode!r}; known: {', '.join(MODES)}")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    compilers = [os.environ.get("CXX"), "g++", "clang++"]
    if mode != "none" and on_cpu and not any(name and shutil.which(name) for name in compilers):
        raise UserError(f"compile={mode} needs a C++ compiler (g++ or clang++) in PATH; use compile=none")


def compile_pair(pair: Pair, mode: str, device: torch.device) -> None:
    """Compile the pair's denoisers and decoder in place; the switch between denoisers stays outside.

    On a CPU the weights are frozen into the compiled code, which lets it pack them for its matrix
    products. The shapes are static: each batch size compiles anew.
    """
    if mode == "none":
        return
    options = {"freezing": True} if device.type == "cpu" else None
    networks = [denoiser.network for denoiser in pair.denoisers if denoiser is not None]
    for network in [*networks, pair.autoencoder.decoder]:
        network.compile(dynamic=False, options=options)
