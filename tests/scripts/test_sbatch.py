"""The batch script for SLURM, run by bash with stubs in the place of SLURM's commands."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "docs" / "sample.sbatch"


def launched(folder: Path, gpus_per_node: str) -> list[str]:
    """The arguments that srun gets."""
    for name, body in (("srun", 'printf "%s\\n" "$@"'), ("scontrol", "printf 'node1\\nnode2\\n'")):
        stub = folder / name
        stub.write_text(f"#!/bin/sh\n{body}\n")
        stub.chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64", "SLURM_GPUS_PER_NODE": gpus_per_node,
    }  # fmt: skip
    command = ["bash", SCRIPT, "seed=1", "out=a folder"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("gpus_per_node", "num_ranks"), [("8", 8), ("a100:8", 8), ("a100:3,v100:5", 8), ("a100", 1), ("1", 1)]
)
def test_a_node_gets_its_cores_and_a_rank_for_each_gpu(tmp_path: Path, gpus_per_node: str, num_ranks: int) -> None:
    arguments = launched(tmp_path, gpus_per_node)
    step, torchrun = arguments.index(".venv/bin/torchrun"), arguments.index("-m")
    assert "--cpus-per-task=64" in arguments[:step]
    assert f"--nproc-per-node={num_ranks}" in arguments[step:torchrun]
    assert "--nnodes=1:2" in arguments[step:torchrun]
    assert "--rdzv-endpoint=node1:29400" in arguments[step:torchrun]
    assert arguments[-2:] == ["seed=1", "out=a folder"]
