"""Ranks and their devices."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from tstitch.errors import UserError
from tstitch.runs.ranks import choose_device, joined_ranks


@pytest.fixture
def one_gpu(monkeypatch) -> list[torch.device]:
    """A machine on which PyTorch sees one GPU; the devices that were made current."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize(("local_rank", "local_world_size"), [(0, 2), (1, 2), (3, 4)])
def test_more_ranks_than_gpus_are_refused_by_every_rank(one_gpu, name, local_rank, local_world_size) -> None:
    with pytest.raises(UserError) as refused:
        choose_device(name, local_rank, local_world_size)
    assert f"{local_world_size} ranks on this machine, but PyTorch sees 1 GPU:" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not one_gpu


def test_a_rank_beyond_the_gpus_is_refused_without_the_number_of_ranks(one_gpu) -> None:
    with pytest.raises(UserError, match="2 ranks on this machine, but PyTorch sees 1 GPU"):
        choose_device("cuda", 1)


def test_the_chosen_gpu_becomes_the_current_one(one_gpu) -> None:
    device = choose_device("auto", local_rank=0)
    assert device == torch.device("cuda", 0)
    assert one_gpu == [device]


def test_ranks_share_a_cpu(one_gpu) -> None:
    assert choose_device("cpu", 3, 4) == torch.device("cpu")
    assert not one_gpu


def test_without_affinity_all_cpus_count(monkeypatch) -> None:
    """macOS has no `os.sched_getaffinity`."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    before = torch.get_num_threads()
    try:
        with joined_ranks() as ranks:
            assert ranks.world_size == 1
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


JOIN = """
import signal
import tstitch.runs.exchange as exchange
from tstitch.runs.ranks import joined_ranks
exchange.ANNOUNCE_S = 0.1
signal.signal(signal.SIGTERM, lambda *_: exit(143))
with joined_ranks():
    pass
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_waits_alone_says_so_and_can_be_ended(rank: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in launch.items()}
    process = subprocess.Popen([sys.executable, "-c", JOIN], env=environment, stderr=subprocess.PIPE, text=True)
    waits = {0: "rank 0 waits for 1 other rank (up to 600 s)", 1: f"rank 1 waits for rank 0 at 127.0.0.1:{port} "}
    assert process.stderr.readline().startswith(waits[rank])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143


@pytest.mark.gpu
def test_the_current_gpu_is_the_ranks_own() -> None:
    last = torch.cuda.device_count() - 1
    try:
        assert choose_device("auto", last, last + 1).index == torch.cuda.current_device() == last
    finally:
        torch.cuda.set_device(0)
    with pytest.raises(UserError, match=f"{last + 2} ranks on this machine, but PyTorch sees {last + 1} GPU"):
        choose_device("auto", 0, last + 2)
