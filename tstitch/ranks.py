"""Ranks: read from torchrun's environment; without torchrun, the same code with one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from tstitch.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world_size` processes, `local_world_size` of them on this machine."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the process group that torchrun describes (gloo: ranks exchange no tensors), and leave it at the end.

    CPU threads are shared out evenly among the ranks of a machine.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    ranks = Ranks(*(int(os.environ.get(name, default)) for name, default in zip(names, (0, 1, 0, 1), strict=True)))
    if ranks.world_size == 1:
        yield ranks
        return
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks.local_world_size))
    dist.init_process_group("gloo")
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def choose_device(name: str, local_rank: int) -> torch.device:
    """A device from `auto`, `cpu` or `cuda`; `auto` is the rank's GPU where there is one."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but PyTorch sees no GPU; use device=cpu or device=auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank)
