"""On a GPU: images are those of a CPU as far as rounding goes, in every mode and for any number of ranks."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sampling.test_interruptions import torchrun
from tests.scripts.command import PYTHON, run, run_here
from tstitch.transfer import to_device, to_host

pytestmark = pytest.mark.gpu
SETTINGS = ["stitch.fractions=[0.5,0.5]", "sampler.num_steps=8", "num_images=10", "batch_size=4"]
CUDA = torch.device("cuda", 0)


@pytest.fixture
def sampled(capfd, monkeypatch, tmp_path: Path):
    """From settings to the images (N, H, W, 3) that `scripts.sample` makes, as whole numbers that can be subtracted."""

    def sample(*settings: str) -> np.ndarray:
        out = tmp_path / hashlib.sha256(" ".join(settings).encode()).hexdigest()[:12]
        outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, *settings, f"out={out}")
        assert outcome.code == 0, outcome.err
        with np.load(out / "samples.npz") as file:
            return file["arr_0"].astype(int)

    return sample


@pytest.mark.parametrize(
    "more", [[], ["sampler=ddpm"], ["sampler=plms"], ["pair=fashion_unet_s_l"], ["guidance.scale=1"]], ids=str
)
def test_in_float32_a_gpu_makes_a_cpus_images(sampled, more: list[str]) -> None:
    difference = np.abs(sampled("device=cuda", *more) - sampled("device=cpu", *more))
    assert difference.max() <= 2
    assert difference.mean() < 0.01


@pytest.mark.parametrize(("precision", "mean"), [("tf32", 0.2), ("fp16", 0.2), ("bf16", 1.0)])
def test_lower_precisions_stay_near(sampled, precision: str, mean: float) -> None:
    exact = sampled("device=cuda")
    low = sampled("device=cuda", f"precision={precision}", f"autoencoder_precision={precision}")
    assert 0 < np.abs(low - exact).mean() < mean


@pytest.mark.parametrize("mode", ["default", "max"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_compiled_networks_stay_near(sampled, mode: str, precision: str) -> None:
    plain = sampled("device=cuda", f"precision={precision}")
    compiled = sampled("device=cuda", f"precision={precision}", f"compile={mode}")
    assert np.abs(compiled - plain).mean() < (0.01 if precision == "float32" else 1.0)


def test_transfers_are_pinned_and_exact() -> None:
    values = torch.randn(64, 4, 32, 32)
    there = to_device(values, CUDA)
    back, doubled = to_host(there, 2 * there)()
    assert back.is_pinned()
    assert torch.equal(back, values)
    assert torch.equal(doubled, 2 * values)


def test_no_share_of_the_limit_is_above_all_of_it(capfd, monkeypatch, tmp_path: Path) -> None:
    out, settings = tmp_path / "latency.json", ["pair=digits_dit_s_xl", "sampler.num_steps=10", "fractions=[0,0.5,1]"]
    for precision in ("float32", "tf32", "[bf16,float32]"):
        own = [f"precision={precision}", "batch_sizes=[64]", "repeats=3", "device=cuda", f"out={out}"]
        outcome = run_here(capfd, monkeypatch, "latency", *settings, *own)
        assert outcome.code == 0, outcome.err
        points = json.loads(out.read_text())["batches"][0]["points"]
        assert all(0 < point["share_of_limit"] < 1 for point in points)


def test_more_ranks_than_gpus_are_refused(tmp_path: Path) -> None:
    num_gpus = torch.cuda.device_count()
    outcome = run(*torchrun(num_gpus + 1), "-m", "scripts.sample", *SETTINGS, f"out={tmp_path / 'out'}")
    assert outcome.code != 0
    assert f"error: {num_gpus + 1} ranks on this machine, but PyTorch sees {num_gpus} GPU" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("more", [[], ["precision=bf16"], ["compile=default"]], ids=str)
def test_two_gpus_give_the_bytes_of_one(tmp_path: Path, more: list[str]) -> None:
    checksums = set()
    for launcher, name in ((PYTHON, "one"), (torchrun(2), "two")):
        outcome = run(*launcher, "-m", "scripts.sample", *SETTINGS, *more, "device=cuda", f"out={tmp_path / name}")
        assert outcome.code == 0, outcome.err
        checksums.add(hashlib.sha256((tmp_path / name / "samples.npz").read_bytes()).hexdigest())
    assert len(checksums) == 1
