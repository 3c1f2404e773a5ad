"""Which networks are in memory when: all of them, one denoiser at a time on the GPU, or one at a time at all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from models.pair import Pair

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

    from models.denoisers import ClassConditionalDenoiser

RESIDENCIES = ("both", "swap", "staged")
Load = Callable[[Collection[int], bool], Pair]


class Residency(Protocol):
    """The networks of a pair, each there while it is used."""

    def use(self, index: int) -> AbstractContextManager[ClassConditionalDenoiser]:
        """The denoiser at `index`, ready on the device."""

    def use_autoencoder(self) -> AbstractContextManager[AutoencoderKL | VQModel]:
        """The autoencoder, ready on the device."""


class SwappedPair:
    """A pair on a GPU of whose denoisers only the one in use is there; the others wait in pinned host memory.

    A denoiser stays until another one is used, so small to large moves each of them once per batch. Weights never
    change, so none travels back.

    Args:
        load: from indices of denoisers, and whether the autoencoder is wanted, to a pair of just these on the device.
        used: the denoisers that will be used.
    """

    def __init__(self, load: Load, used: Collection[int], device: torch.device):
        self.device, self.present = device, None
        self.denoisers, self.hosted = {}, {}
        for index in used:  # each leaves the device before the next one comes
            self.denoisers[index] = load({index}, False).denoisers[index]
            self.hosted[index] = _hosted(self.denoisers[index].network)
        self.pair = load((), True)

    @contextmanager
    def use(self, index: int) -> Iterator[ClassConditionalDenoiser]:
        if self.present != index:
            if self.present is not None:
                for tensor, host in self.hosted[self.present]:
                    tensor.data = host
            for tensor, host in self.hosted[index]:
                tensor.data = host.to(self.device, non_blocking=True)
            self.present = index
        yield self.denoisers[index]

    def use_autoencoder(self) -> AbstractContextManager[AutoencoderKL | VQModel]:
        return self.pair.use_autoencoder()


def _hosted(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """A network's tensors, moved to the host, each with its place there."""
    tensors = [*network.parameters(), *network.buffers()]
    hosted = [(tensor, tensor.data.cpu().pin_memory()) for tensor in tensors]
    for tensor, host in hosted:
        tensor.data = host
    return hosted


class StagedNetworks:
    """Networks that are loaded when they are used: never two denoisers in memory.

    What was used before is let go when the next one is asked for, so a caller must not hold it any longer. Compiled
    code would be made anew at each loading, so these are never compiled.

    Args:
        load: from indices of denoisers, and whether the autoencoder is wanted, to a pair of just these.
    """

    def __init__(self, load: Load):
        self.load = load

    @contextmanager
    def use(self, index: int) -> Iterator[ClassConditionalDenoiser]:
        self._let_go()
        yield self.load({index}, False).denoisers[index]

    @contextmanager
    def use_autoencoder(self) -> Iterator[AutoencoderKL | VQModel]:
        self._let_go()
        with self.load((), True).use_autoencoder() as autoencoder:
            yield autoencoder

    def _let_go(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
