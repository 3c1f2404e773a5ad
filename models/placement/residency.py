"""Which networks are in memory when: all of them, one denoiser at a time on the GPU, or one at a time at all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from models.pair import Pair

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

    from models.denoisers import ClassConditionalDenoiser

Load = Callable[[Collection[int], bool], Pair]


class Residency(Protocol):
    """The networks of a pair, each there while it is used."""

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ClassConditionalDenoiser]]:
        """Hold the denoisers at the indices `models` ready on the device until the context ends."""

    def use_autoencoder(self) -> AbstractContextManager[AutoencoderKL | VQModel]:
        """Hold the autoencoder ready on the device."""


class SwappedPair:
    """A pair on a GPU of whose denoisers only the one in use is there; the others wait in pinned host memory.

    A denoiser stays until another one is used, so small to large moves each of them once per batch. Weights never
    change, so none travels back.

    Args:
        load: from indices of denoisers, and whether the autoencoder is wanted, to a pair of just these on the device.
        used: the denoisers that will be used.
    """

    def __init__(self, load: Load, used: Collection[int], device: torch.device):
        self.device, self.present = device, set()
        self.denoisers, self.hosted = {}, {}
        for index in used:  # each leaves the device before the next one comes
            self.denoisers[index] = load({index}, False).denoisers[index]
            self.hosted[index] = _hosted(self.denoisers[index].network)
        self.pair = load((), True)

    @contextmanager
    def use(self, models: Sequence[int]) -> Iterator[Mapping[int, ClassConditionalDenoiser]]:
        for index in self.present - set(models):
            for tensor, host in self.hosted[index]:
                tensor.data = host
        for index in set(models) - self.present:
            for tensor, host in self.hosted[index]:
                tensor.data = host.to(self.device, non_blocking=True)
        self.present = set(models)
        yield {index: self.denoisers[index] for index in models}

    def use_autoencoder(self) -> AbstractContextManager[AutoencoderKL | VQModel]:
        return self.pair.use_autoencoder()


def _hosted(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Move a network's tensors to pinned host memory; return each with its copy there."""
    tensors = [*network.parameters(), *network.buffers()]
    hosted = [(tensor, tensor.data.cpu().pin_memory()) for tensor in tensors]
    for tensor, host in hosted:
        tensor.data = host
    return hosted


@dataclass(frozen=True)
class StagedNetworks:
    """Networks that are loaded for each use and dropped after it: the models of one stage are in memory, no others.

    Attributes:
        load: from indices of denoisers, and whether the autoencoder is wanted, to a pair of just these.
    """

    load: Load

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ClassConditionalDenoiser]]:
        gc.collect()
        return self.load(set(models), False).use(models)

    def use_autoencoder(self) -> AbstractContextManager[AutoencoderKL | VQModel]:
        gc.collect()
        return self.load((), True).use_autoencoder()
