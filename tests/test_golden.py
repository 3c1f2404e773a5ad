"""Bytes and run ids of tiny runs are those that were recorded: no change of the code's form may change them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden import CHECKSUMS, LATENTS, RUNS, VALUES, machine, sample_here, settings_of, sha256, stitched_latents
from tests.scripts.command import PYTHON, run

GOLDEN = json.loads(CHECKSUMS.read_text())
IS_SAME_MACHINE = GOLDEN["machine"] == machine()
TORCHRUN = [*PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def check_run(name: str, out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    assert record["run_id"] == GOLDEN["runs"][name]["id"]
    if IS_SAME_MACHINE:
        assert sha256((out / "samples.npz").read_bytes()) == GOLDEN["runs"][name]["sha256"]
    images, recorded = np.load(out / "samples.npz")["arr_0"].astype(int), np.load(VALUES)[name].astype(int)
    difference = np.abs(images - recorded)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_its_id_and_its_bytes(name: str, tmp_path: Path) -> None:
    sample_here(name, tmp_path / "run")
    check_run(name, tmp_path / "run")


@pytest.mark.parametrize("name", ["ddpm", "ldm_plms"])
def test_two_ranks_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = run(*TORCHRUN, "-m", "scripts.sample", *settings_of(name), f"out={out}")
    assert outcome.code == 0, outcome.err
    check_run(name, out)


@pytest.mark.parametrize("name", LATENTS)
def test_latents_of_a_stitched_pipeline_are_the_same(name: str) -> None:
    latents = stitched_latents(name)
    if IS_SAME_MACHINE:
        assert sha256(latents.tobytes()) == GOLDEN["latents"][name]
    np.testing.assert_allclose(latents, np.load(VALUES)[name], rtol=1e-3, atol=1e-4)
