"""The processes of a training: one, or as many as torchrun has started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tstitch.errors import UserError
from tstitch.runs.ranks import end_with_parent


@dataclass(frozen=True)
class Group:
    """One process of `world_size` that train the same network together."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """The rows of a batch that are this process's.

        Raises:
            UserError: the processes cannot share the batch evenly, and the mean of their means would be another.
        """
        if batch_size % self.world_size:
            raise UserError(f"batch_size={batch_size} cannot be shared evenly by {self.world_size} processes")
        size = batch_size // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def average_gradients(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its gradients are the means over the processes; the first one's weights are taken."""
        return module if self.world_size == 1 else DistributedDataParallel(module)

    def mean(self, values: list[Tensor]) -> list[float]:
        """Average scalars over the processes; each must give as many."""
        stacked = torch.stack(values)
        if self.world_size > 1:
            dist.all_reduce(stacked)
            stacked /= self.world_size
        return stacked.tolist()

    def wait_for_all(self) -> None:
        """Wait until every process has called this."""
        if self.world_size > 1:
            dist.barrier()


ALONE = Group()


@contextmanager
def joined_group(rank: int, world_size: int, device: torch.device) -> Iterator[Group]:
    """Join the processes that torchrun describes, over NCCL on GPUs and gloo on CPUs, and leave them at the end."""
    if world_size == 1:
        yield ALONE
        return
    end_with_parent()
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    try:
        yield Group(rank, world_size)
    finally:
        dist.destroy_process_group()
