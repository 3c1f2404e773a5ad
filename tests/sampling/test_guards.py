"""NaN in latents or pixels, the cost before a run, and the merge as a step of its own."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import sampling.batch
from models.denoisers import DiTDenoiser
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line

SETTINGS = [
    "pair=digits_dit_s_xl", "stitch.fractions=[0.5,0.5]", "sampler.num_steps=4", "num_images=10", "batch_size=4",
]  # fmt: skip


def break_image(monkeypatch, label: int, timestep: int) -> None:
    """Let bf16 denoisers fail for one class at one timestep, as an overflow would."""
    original = DiTDenoiser.__call__

    def breaking(self, latents, t, condition, **more):
        prediction = original(self, latents, t, condition, **more)
        if self.dtype == torch.bfloat16 and t[0] == timestep:
            prediction.eps[condition == label] = torch.inf
        return prediction

    monkeypatch.setattr(DiTDenoiser, "__call__", breaking)


def labels_of(capfd, monkeypatch, out: Path, *more: str) -> np.ndarray:
    assert run_here(capfd, monkeypatch, "sample", *SETTINGS, *more, f"out={out}").code == 0
    with np.load(out / "samples.npz") as file:
        return file["arr_1"]


def test_a_broken_image_stops_the_run_and_is_named(capfd, monkeypatch, tmp_path: Path) -> None:
    labels = labels_of(capfd, monkeypatch, tmp_path / "good", "precision=bf16")
    index = 5
    break_image(monkeypatch, labels[index], timestep=333)
    outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, "precision=bf16", f"out={tmp_path / 'out'}")
    first = int(np.flatnonzero(labels == labels[index])[0])
    where = f"image {first} (label {labels[index]}) has NaN or Inf after solver step 2 (t = 333) of digits_dit_xl"
    check_one_line(outcome, where)
    assert outcome.err.endswith("try precision=float32\n")


@pytest.mark.parametrize("router", ["probe", "mdd", "ml_em", "hybrid"])
def test_a_broken_image_is_named_where_images_decide(capfd, monkeypatch, tmp_path: Path, router: str) -> None:
    """Of each image alone that breaks, whoever else of its batch asked."""
    routed = ["router=" + router, "precision=bf16"]
    labels = labels_of(capfd, monkeypatch, tmp_path / "good", *routed)
    break_image(monkeypatch, labels[5], timestep=333)
    outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, *routed, f"out={tmp_path / 'out'}")
    first = int(np.flatnonzero(labels == labels[5])[0])
    check_one_line(outcome, f"image {first} (label {labels[5]}) has NaN or Inf after solver step 2 (t = 333) of digits")


def test_broken_pixels_are_seen_too(capfd, monkeypatch, tmp_path: Path) -> None:
    original = sampling.batch._decode

    def decode(plan, autoencoder, latents):
        pixels = original(plan, autoencoder, latents)
        pixels[2, 0, 5, 5] = torch.nan
        return pixels

    monkeypatch.setattr(sampling.batch, "_decode", decode)
    outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, f"out={tmp_path / 'out'}")
    assert outcome.code == 2
    assert "image 2 (label" in outcome.err
    assert "has NaN or Inf after the autoencoder" in outcome.err


def test_balanced_labels_are_the_classes_in_turn(capfd, monkeypatch, tmp_path: Path) -> None:
    labels = labels_of(capfd, monkeypatch, tmp_path / "out", "labels=balanced", "num_images=13")
    assert labels.tolist() == [*range(10), 0, 1, 2]


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [("ddim", (5, 5)), ("heun", (10, 9)), ("plms", (6, 5))],
)
def test_dry_run_counts_the_calls_and_makes_nothing(capfd, monkeypatch, tmp_path, sampler: str, calls: tuple) -> None:
    settings = [*SETTINGS, f"sampler={sampler}", "sampler.num_steps=10", "dry_run=true", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    assert outcome.code == 0, outcome.err
    assert f"digits_dit_s: {calls[0]} calls a batch, {3 * calls[0]} in all, of 8 evaluations each" in outcome.out
    assert f"digits_dit_xl: {calls[1]} calls a batch, {3 * calls[1]} in all, of 8 evaluations each" in outcome.out
    assert "0 of 3 shards are there" in outcome.out
    assert "disk: 0.1 MB" in outcome.out
    assert "s on one cpu device, from a short measurement" in outcome.out
    assert not (tmp_path / "out").exists()


def test_dry_run_needs_no_weights_when_a_rate_is_given(capfd, monkeypatch) -> None:
    settings = ["pair=dit_s_xl", "stitch.fractions=[0,1]", "sampler.num_steps=100", "num_images=5000", "dry_run=true"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings, "tflops=100")
    assert outcome.code == 0, outcome.err
    # Table 3 of the paper: 114.5 G multiply-accumulates for DiT-XL; guidance doubles them.
    gflops = float(outcome.out.partition("s an image")[0].rpartition("for ")[2].partition(" G")[0].replace(",", ""))
    assert gflops == pytest.approx(2 * 114.5 * 2 * 100, rel=0.05)
    assert "dit_xl: 100 calls a batch, 7,900 in all, of 128 evaluations each" in outcome.out
    assert "missing: weights " in outcome.out
    check_one_line(run_here(capfd, monkeypatch, "sample", *settings, "tflops=0"), "tflops must be a number above 0")


def test_dry_run_of_a_sweep(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*SETTINGS, "fractions=[0,0.5]", "dry_run=true", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *settings)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("calls a batch") == 3
    assert outcome.out.count("0 of 3 shards are there") == 2
    assert not (tmp_path / "out").exists()
    own = ["fractions=[0]", "precision=float32", f"out={tmp_path / 'out'}"]
    assert run_here(capfd, monkeypatch, "sweep", *SETTINGS, *own, "sampler.num_steps=1").code == 0
    dry = run_here(capfd, monkeypatch, "sweep", *SETTINGS, *own, "sampler.num_steps=1", "dry_run=true")
    assert "3 of 3 shards are there" in dry.out, "a dry run looks where the sweep keeps its points"


def test_merge_is_a_step_of_its_own(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels_of(capfd, monkeypatch, out)
    before = hashlib.sha256((out / "samples.npz").read_bytes()).hexdigest()
    assert "it is there already" in run_here(capfd, monkeypatch, "merge", f"run={out}").out
    (out / "samples.npz").unlink()
    assert run(*PYTHON, "-m", "scripts.merge", f"run={out}").code == 0
    assert hashlib.sha256((out / "samples.npz").read_bytes()).hexdigest() == before
    (out / "samples.npz").unlink()
    (out / "shards" / "00000004-00000008.npz").unlink()
    outcome = run_here(capfd, monkeypatch, "merge", f"run={out}")
    check_one_line(outcome, "00000004-00000008.npz is missing; the sampling command makes it again")
