"""Ranks: read from torchrun's environment; without torchrun, the same code with one."""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

import torch
import torch.distributed as dist

from tstitch.errors import UserError
from tstitch.runs.environment import read_environment
from tstitch.runs.exchange import Json, StoreExchange, wait

PR_SET_PDEATHSIG = 1
MEETING_TIMEOUT_S = 300


@dataclass(frozen=True)
class Ranks:
    """One process of `world_size`, `local_world_size` of them on this machine, and its exchange with the others."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    exchange: StoreExchange | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Wait until every rank has called this. Signals are still handled meanwhile."""
        self.gather(None)

    def gather(self, value: Json) -> list[Json]:
        """Give every rank the values of all ranks, in the order of the ranks.

        Args:
            value: plain data that JSON holds. One rank alone gets it back as several would: a tuple is a list.

        Raises:
            TypeError: `value` is something else.
        """
        return [json.loads(json.dumps(value))] if self.exchange is None else self.exchange.gather(value)


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun describes, and leave them at the end; they exchange no tensors.

    CPU threads are shared out evenly among the ranks of a machine, a power of two each: matrix products over three
    threads are cut at other places and round differently, those over one, two or four do not.

    Raises:
        UserError: the environment is not that of a launch, or rank 0 is not where it says.
    """
    ranks = Ranks(**asdict(read_environment()))
    threads = min(torch.get_num_threads(), _num_cpus()) if ranks.world_size == 1 else _share(ranks)
    torch.set_num_threads(1 << (threads.bit_length() - 1))
    if ranks.world_size == 1:
        yield ranks
        return
    end_with_parent()
    exchange = StoreExchange(_meet(ranks), ranks.rank, ranks.world_size)
    yield replace(ranks, exchange=exchange)
    exchange.close()


def _meet(ranks: Ranks) -> dist.Store:
    """Connect to the store of the launch, which torchrun's agent serves, or else rank 0.

    PyTorch's own rendezvous waits for the others where no signal is heard.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = ranks.is_main and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(f"MASTER_ADDR={host} is no address of a machine: {error}") from error
    if not serves and not wait(
        lambda: _is_served(host, port), MEETING_TIMEOUT_S, f"rank {ranks.rank} waits for rank 0 at {host}:{port}"
    ):
        raise UserError(f"no rank 0 at MASTER_ADDR:MASTER_PORT {host}:{port} after {MEETING_TIMEOUT_S} s")
    try:
        return dist.TCPStore(
            host, port, ranks.world_size, serves, timedelta(seconds=MEETING_TIMEOUT_S), wait_for_workers=False
        )
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        reason = str(error).splitlines()[0]
        problem = f"cannot serve the ranks at {host}:{port}" if serves else f"no rank 0 at {host}:{port}"
        raise UserError(f"{problem} (MASTER_ADDR:MASTER_PORT): {reason}") from error


def _is_served(host: str, port: int) -> bool:
    with suppress(OSError):
        socket.create_connection((host, port), timeout=1).close()
        return True
    return False


def _share(ranks: Ranks) -> int:
    return max(1, _num_cpus() // ranks.local_world_size)


def _num_cpus() -> int:
    """The CPUs that this process may use; macOS does not say which, so there it is all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent (torchrun's agent, a sweep) is killed: no orphan goes on writing."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def choose_device(name: str, local_rank: int, local_world_size: int = 1) -> torch.device:
    """Choose a device from `auto`, `cpu` or `cuda`; `auto` is the rank's GPU where the machine has any.

    The GPU becomes the process's current one, so that nothing of the process is kept on another rank's GPU.

    Raises:
        UserError: an unknown name, no GPU, or fewer GPUs on this machine than ranks.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but PyTorch sees no GPU; use device=cpu or device=auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    num_ranks, num_gpus = max(local_world_size, local_rank + 1), torch.cuda.device_count()
    if num_ranks > num_gpus:
        raise UserError(
            f"{num_ranks} ranks on this machine, but PyTorch sees {num_gpus} GPU{'s' if num_gpus > 1 else ''}: each "
            f"rank needs one of its own; start {num_gpus} (--nproc-per-node={num_gpus}, ranks={num_gpus}) "
            "or use device=cpu"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
