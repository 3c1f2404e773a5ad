"""Memory that runs out, wherever it does, is one line that says what to try."""

from collections.abc import Callable

import pytest
import torch

import experiments.evaluation
import models.pair
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.errors import is_out_of_memory

SMALL = ["pair=digits_dit_s_xl", "sampler.num_steps=2", "num_images=2", "batch_size=2", "device=auto"]
CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB."
ERRORS = [
    torch.OutOfMemoryError(CUDA),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other call"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: 7 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 9.31 GiB for an array with shape (50000, 50000)"),
    MemoryError(),
]


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:30])
def test_loading_networks(capfd, monkeypatch, tmp_path, error: BaseException) -> None:
    assert is_out_of_memory(error)
    monkeypatch.setattr(models.pair, "place", raising(error))
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'out'}")
    check_one_line(outcome, "memory ran out at batch_size=2, precision=float32, residency=both, device=auto (")
    assert "try a smaller batch_size, precision=bf16, residency=swap or residency=staged, device=cpu" in outcome.err


def test_what_is_tried_already_is_not_advised(capfd, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(models.pair, "place", raising(torch.OutOfMemoryError(CUDA)))
    settings = [*SMALL, "batch_size=1", "precision=bf16", "residency=staged", "device=cpu", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    check_one_line(outcome, "memory ran out (CUDA out of memory); try or end what else uses this memory")


@pytest.mark.parametrize("name", ["latency", "evaluate"])
def test_latency_and_evaluation(capfd, monkeypatch, tmp_path, name: str) -> None:
    settings = SMALL
    if name == "evaluate":
        assert run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'out'}").code == 0
        settings = [f"run={tmp_path / 'out'}"]
        monkeypatch.setattr(experiments.evaluation, "load_extractor", raising(torch.OutOfMemoryError(CUDA)))
    monkeypatch.setattr(models.pair, "place", raising(torch.OutOfMemoryError(CUDA)))
    check_one_line(run_here(capfd, monkeypatch, name, *settings), "memory ran out at batch_size")


def test_a_point_of_a_sweep(capfd, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(models.pair, "place", raising(torch.OutOfMemoryError(CUDA)))
    outcome = run_here(capfd, monkeypatch, "sweep", *SMALL, "fractions=[0]", f"out={tmp_path / 'out'}")
    assert outcome.code == 1
    assert "CUDA out of memory" in outcome.err
    assert "Traceback" not in outcome.err


def test_other_errors_leave_their_traceback_in_a_file(capfd, monkeypatch, tmp_path) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not is_out_of_memory(error)
    monkeypatch.setattr(models.pair, "place", raising(error))
    monkeypatch.chdir(tmp_path)
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'out'}")
    assert outcome.code == 1
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied; its traceback is in runs/" in outcome.err
    [log] = (tmp_path / "runs/errors").iterdir()
    assert "Traceback" in log.read_text()


@pytest.mark.gpu
def test_a_gpu_that_is_full(capfd, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(models.pair, "place", lambda *_: torch.empty(1 << 50, device="cuda"))
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'out'}")
    check_one_line(outcome, "memory ran out at batch_size=2")
