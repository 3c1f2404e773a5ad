"""Networks compiled by torch.compile: one fixed batch size, compiled on first use."""

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.pair import Pair
from tstitch.errors import UserError

MODES = ("none", "default", "max")
RECOMPILE_LIMIT = 64


def check_compile_mode(mode: str, device: str) -> None:
    """Check that a mode is known, and that there is the compiler it needs.

    PyTorch generates C++ for a CPU; for a GPU Triton compiles each kernel's launcher with a C compiler.

    Raises:
        UserError: it is not.
    """
    if mode not in MODES:
        raise UserError(f"unknown compile mode {mode!r}; known: {', '.join(MODES)}")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if mode == "none":
        return
    language, variable, names = ("C++", "CXX", ("g++", "clang++")) if on_cpu else ("C", "CC", ("gcc", "clang"))
    # Triton takes CC alone where it is set, PyTorch goes on to the others.
    named = os.environ.get(variable)
    candidates = [named] if named and not on_cpu else [named, *names]
    if not any(name and shutil.which(name) for name in candidates):
        raise UserError(
            f"compile={mode} needs a {language} compiler ({' or '.join(names)}) in PATH, or {variable} to name one"
            f"{f' (now {named})' if named else ''}; use compile=none"
        )


def compile_pair(pair: Pair, mode: str, device: torch.device) -> None:
    """Compile the pair's denoisers in place, on a GPU the decoder too; the switch between denoisers stays outside.

    The shapes are static: each batch size compiles anew. On a CPU several threads decode, each for itself.
    """
    if mode == "none":
        return
    networks = [denoiser.network for denoiser in pair.denoisers if denoiser is not None]
    if device.type != "cpu" and pair.autoencoder is not None:
        networks.append(pair.autoencoder.decoder)
    for network in networks:
        compile_network(network, mode, device)


def compile_network(network: nn.Module, mode: str, device: torch.device) -> None:
    """Compile one network in place: `default`, or `max`.

    `max` on a GPU tries implementations and records CUDA graphs. On a CPU it makes the weights part of the code.
    """
    # These imports take seconds, which bad input should not wait for.
    import torch._dynamo.config
    import torch._inductor.config

    # Networks of one class share PyTorch's count of compilations, which beyond its limit of 8 runs them uncompiled:
    # three denoisers and a decoder, guided and not, at two batch sizes, are 16.
    torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
    if mode == "default":
        network.compile(dynamic=False)
    elif device.type == "cpu":
        # Frozen into the compiled code, weights are packed for its matrix products, but nothing comes from PyTorch's
        # cache. As an option of one compilation it has no effect: whether weights are constants is the process's.
        torch._inductor.config.freezing = True
        network.compile(dynamic=False)
    else:
        network.forward = _graphed(torch.compile(network.forward, dynamic=False, mode="max-autotune"))


def _graphed(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a call that runs as a CUDA graph, which overwrites its result in the next call: we take a copy."""

    def run(*args: Tensor, **kwargs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return call(*args, **kwargs).clone()

    return run
