"""The main job, end to end, on the shipped digits pair."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from settings.names import DATA_SETS
from tests.conftest import ROOT
from tests.scripts.command import PYTHON, run, run_here, start
from tstitch.runs.run import load_run
from tstitch.runs.shards import Block, Shard, write_shard

STITCHED = [
    "pair=digits_dit_s_xl", "stitch.fractions=[0.5,0.5]", "sampler.num_steps=4", "guidance.scale=1.5",
    "num_images=22", "batch_size=8",
]  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]


def samples(out: Path) -> tuple[bytes, np.ndarray, np.ndarray]:
    with np.load(out / "samples.npz") as file:
        return (out / "samples.npz").read_bytes(), file["arr_0"], file["arr_1"]


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_two_ranks_give_the_bytes_of_one(tmp_path: Path, precision: str) -> None:
    arguments = ["-m", "scripts.sample", *STITCHED, f"precision={precision}"]
    one = run(*PYTHON, *arguments, f"out={tmp_path / 'one'}")
    two = run(*TORCHRUN, "2", *arguments, f"out={tmp_path / 'two'}")
    assert one.code == 0, one.err
    assert two.code == 0, two.err
    assert "digits_dit_s takes 2 steps (t = 999..666), digits_dit_xl takes 2 steps (t = 333..0)" in one.out
    content, images, labels = samples(tmp_path / "one")
    assert samples(tmp_path / "two")[0] == content
    assert images.shape == (22, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (22,)
    assert (tmp_path / "one" / "run.json").is_file()


@pytest.mark.parametrize("sampler", [["sampler=ddpm"], ["sampler.eta=1"], ["sampler.grid=ddim_stride"]])
def test_every_sampler_runs_on_trained_weights(capfd, monkeypatch, tmp_path: Path, sampler: list[str]) -> None:
    settings = [*STITCHED, *sampler, "num_images=4", "sampler.num_steps=5"]
    assert run_here(capfd, monkeypatch, "sample", *settings, f"out={tmp_path / 'out'}").code == 0
    assert samples(tmp_path / "out")[1].std() > 20


def test_an_image_does_not_depend_on_how_many_are_asked_for(capfd, monkeypatch, tmp_path: Path) -> None:
    for name, changes in {"few": ["num_images=8"], "other": ["num_images=20", "batch_size=5"]}.items():
        assert run_here(capfd, monkeypatch, "sample", *STITCHED, *changes, f"out={tmp_path / name}").code == 0
    assert run_here(capfd, monkeypatch, "sample", *STITCHED, f"out={tmp_path / 'all'}").code == 0
    _, images, labels = samples(tmp_path / "all")
    assert np.array_equal(samples(tmp_path / "few")[1], images[:8])
    assert np.array_equal(samples(tmp_path / "other")[2], labels[:20])
    difference = np.abs(samples(tmp_path / "other")[1].astype(int) - images[:20])
    assert difference.max() <= 1


@pytest.mark.long
def test_a_killed_run_continues_to_the_same_bytes(tmp_path: Path) -> None:
    arguments = [*PYTHON, "-m", "scripts.sample", *STITCHED, "num_images=400", "sampler.num_steps=10"]
    shards = tmp_path / "killed" / "shards"
    process = start(*arguments, f"out={tmp_path / 'killed'}")
    deadline = time.monotonic() + 120
    while len(list(shards.glob("*.npz"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = len(list(shards.glob("*.npz")))
    assert kept < 50
    again = run(*arguments, f"out={tmp_path / 'killed'}")
    assert again.code == 0, again.err
    assert f"{8 * kept}/400 images are there already" in again.out
    assert run(*arguments, f"out={tmp_path / 'whole'}").code == 0
    assert samples(tmp_path / "killed")[0] == samples(tmp_path / "whole")[0]


def test_without_out_the_directory_is_named_after_the_configuration(capfd, monkeypatch, tmp_path: Path) -> None:
    import sampling.run

    monkeypatch.setattr(sampling.run, "ROOT", tmp_path)
    settings = [*STITCHED, "num_images=2", "sampler.num_steps=2"]
    outcomes = [run_here(capfd, monkeypatch, "sample", *settings, *more) for more in ([], [], ["seed=1"])]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 2
    assert all(name.startswith("digits_dit_s_xl-0.5_0.5-ddim2-cfg1.5-n2-seed") for name in names)
    assert "2/2 images are there already" in outcomes[1].out


def test_only_the_weights_that_the_allocation_uses_are_needed(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*STITCHED, "stitch.fractions=[1,0]", "pair.denoisers.xl.path=nowhere.safetensors", "num_images=2"]
    assert run_here(capfd, monkeypatch, "sample", *settings, f"out={tmp_path / 'out'}").code == 0
    settings[1] = "stitch.fractions=[0.5,0.5]"
    outcome = run_here(capfd, monkeypatch, "sample", *STITCHED, *settings[2:], "stitch.fractions=[0.5,0.5]")
    assert "nowhere.safetensors do not exist" in outcome.err


def test_per_stage_guidance_and_explicit_allocation(capfd, monkeypatch, tmp_path: Path) -> None:
    others = [argument for argument in STITCHED if not argument.startswith("stitch.")]
    settings = [*others, "guidance.scale=[1,2]", "stitch.denoiser_per_step=[0,1,0,1]", "num_images=2"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings, f"out={tmp_path / 'out'}")
    assert outcome.code == 0
    assert "guidance scale: digits_dit_s 1, digits_dit_xl 2" in outcome.out


def test_two_ways_to_stitch_are_refused(capfd, monkeypatch) -> None:
    outcome = run_here(capfd, monkeypatch, "sample", "stitch.fractions=[0.5,0.5]", "stitch.denoiser_per_step=[0,1]")
    assert outcome.code == 2
    assert "got stitch.fractions and stitch.denoiser_per_step" in outcome.err


@pytest.mark.parametrize("pair", sorted(path.stem for path in (ROOT / "configs/pair").glob("*.yaml")))
def test_every_pair_composes_to_a_plan(capfd, monkeypatch, pair: str, tmp_path: Path) -> None:
    """A shipped pair samples; any other, and one of weights trained later, comes to missing weights, and names them."""
    settings = [f"pair={pair}", "num_images=2", "sampler.num_steps=4", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    if pair.startswith(DATA_SETS) and not pair.endswith(("_all", "_interval", "_xs_s_b_xl")):
        assert outcome.code == 0, outcome.err
    else:
        assert outcome.code == 2
        assert " do not exist" in outcome.err


def test_shards_of_another_layout_are_made_again_and_never_merged(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = ["stitch.fractions=[1,0]", "num_images=6", "batch_size=2", "sampler.num_steps=2", f"out={tmp_path}"]
    assert run_here(capfd, monkeypatch, "sample", *settings).code == 0
    whole, run_id = samples(tmp_path)[0], load_run(tmp_path).id
    for block, images in ((Block(0, 2), np.zeros((2, 16, 16, 3), np.uint8)), (Block(4, 6), np.zeros((2, 32, 32, 3)))):
        write_shard(tmp_path / "shards", block, Shard(images, np.zeros(2, np.int64)), run_id)
    (tmp_path / "samples.npz").unlink()
    outcome = run_here(capfd, monkeypatch, "merge", f"run={tmp_path}")
    assert outcome.code == 2, outcome.out
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "samples.npz").exists()
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("set aside") == 2
    assert samples(tmp_path)[0] == whole


def test_a_wrong_downsampling_is_said_before_a_shard_is_written(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = ["stitch.fractions=[1,0]", "num_images=2", "batch_size=2", "sampler.num_steps=2"]
    outcome = run_here(
        capfd, monkeypatch, "sample", *settings, "pair.autoencoder.downsampling=8", f"out={tmp_path}/out"
    )
    assert outcome.code == 2
    assert "autoencoder digits gives images of shape (32, 32, 3), not (64, 64, 3)" in outcome.err
    assert not list((tmp_path / "out" / "shards").iterdir())
