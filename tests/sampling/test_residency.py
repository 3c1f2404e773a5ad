"""One denoiser in memory at a time: the same bytes, and never two."""

import gc
import hashlib
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import models.pair
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

SETTINGS = ["stitch.fractions=[0.5,0.5]", "sampler.num_steps=4", "num_images=10", "batch_size=4", "device=cpu"]
ALTERNATING = ["stitch.fractions=null", "stitch.denoiser_per_step=[0,1,0,1]"]


class Loads:
    """Every denoiser that is loaded from here on: its name, and how many others were in memory then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.names: list[str] = []
        self.others: list[int] = []
        networks: list[weakref.ref] = []
        real = models.pair.load_denoiser

        def load(spec, precision, device):
            self.others.append(sum(network() is not None for network in networks))
            denoiser = real(spec, precision, device)
            self.names.append(spec.name)
            networks.append(weakref.ref(denoiser.network))
            return denoiser

        monkeypatch.setattr(models.pair, "load_denoiser", load)


def sha256(out: Path) -> str:
    return hashlib.sha256((out / "samples.npz").read_bytes()).hexdigest()


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        ["sampler=ddim"],
        ["sampler=ddpm"],
        ["sampler=plms"],
        ["sampler=dpmpp_2m", "sampler.history=reset"],
        ALTERNATING,
        ["pair=fashion_unet_s_l", "sampler=plms"],
    ],
)
def test_staged_networks_give_the_same_bytes(capfd, monkeypatch, tmp_path: Path, settings: list[str]) -> None:
    loads = Loads(monkeypatch)
    for residency in ("both", "staged"):
        own = [*SETTINGS, *settings, f"residency={residency}", f"out={tmp_path / residency}"]
        outcome = run_here(capfd, monkeypatch, "sample", *own)
        assert outcome.code == 0, outcome.err
    assert sha256(tmp_path / "staged") == sha256(tmp_path / "both")
    together, staged = loads.others[:2], loads.others[2:]
    assert together == [0, 1]
    assert len(staged) == 2 + 3 * (4 if settings is ALTERNATING else 2)  # tried, then loaded for each batch
    assert set(staged) == {0}


@pytest.mark.long
@pytest.mark.parametrize("residency", ["both", "staged"])
@pytest.mark.parametrize(("fractions", "name"), [("[1,0]", "digits_dit_s"), ("[0,1]", "digits_dit_xl")])
def test_nothing_is_loaded_that_is_not_used(
    capfd, monkeypatch, tmp_path: Path, residency: str, fractions: str, name: str
) -> None:
    loads = Loads(monkeypatch)
    own = [*SETTINGS, f"stitch.fractions={fractions}", f"residency={residency}", f"out={tmp_path / 'out'}"]
    assert run_here(capfd, monkeypatch, "sample", *own).code == 0
    assert set(loads.names) == {name}


def test_a_staged_run_continues_what_another_residency_began(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(capfd, monkeypatch, "sample", *SETTINGS, f"out={out}").code == 0
    whole = sha256(out)
    (out / "samples.npz").unlink()
    (out / "shards" / "00000004-00000008.npz").unlink()
    outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, "residency=staged", f"out={out}")
    assert outcome.code == 0, outcome.err
    assert "6/10 images are there already" in outcome.out
    assert sha256(out) == whole


def test_a_sweep_needs_all_networks_in_memory(capfd, monkeypatch) -> None:
    check_one_line(
        run_here(capfd, monkeypatch, "sweep", *SETTINGS, "residency=staged"), "residency=staged is for scripts.sample"
    )


def test_an_option_without_effect_on_a_cpu_is_said(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*SETTINGS, "residency=swap", "precision=tf32", "num_images=2", f"out={tmp_path / 'out'}"]
    with pytest.warns(UserWarning) as warned:
        assert run_here(capfd, monkeypatch, "sample", *settings).code == 0
    messages = " ".join(str(warning.message) for warning in warned)
    assert "residency=swap has no effect on a CPU" in messages
    assert "precision=tf32 has no effect on a CPU; it is float32 here" in messages
    assert json.loads((tmp_path / "out" / "run.json").read_text())["identity"]["precision"] == "float32"


@pytest.mark.gpu
@pytest.mark.parametrize("more", [[], ["compile=default", "precision=bf16"]])
def test_swapped_networks_give_the_same_bytes_from_less_memory(capfd, monkeypatch, tmp_path: Path, more) -> None:
    peaks, residencies = {}, ("both", "swap") if more else ("both", "swap", "staged")  # staged ones are not compiled
    # The first run leaves cuBLAS's memory behind, which is in the peaks of all the others; its own does not count.
    for number, residency in enumerate(("both", *residencies)):
        gc.collect()
        torch.cuda.empty_cache()
        out = tmp_path / str(number)
        own = [*SETTINGS, *more, "device=cuda", f"residency={residency}", f"out={out}"]
        outcome = run_here(capfd, monkeypatch, "sample", *own)
        assert outcome.code == 0, outcome.err
        peaks[residency] = torch.cuda.max_memory_allocated()
    checksums = {sha256(path.parent) for path in tmp_path.rglob("samples.npz")}
    assert len(checksums) == 1
    assert all(peaks[residency] < peaks["both"] for residency in residencies[1:])


@pytest.mark.gpu
@pytest.mark.parametrize("sampler", ["ddpm", "plms"])
@pytest.mark.parametrize("scale", [1, 1.5])
def test_cuda_graphs_change_no_image(capfd, monkeypatch, tmp_path: Path, sampler: str, scale: float) -> None:
    """A graph writes its result to one place; a solver that remembers predictions would see the last one only."""
    images = {}
    for mode in ("none", "max"):
        own = [*SETTINGS, f"sampler={sampler}", f"guidance.scale={scale}", "device=cuda", f"compile={mode}"]
        outcome = run_here(capfd, monkeypatch, "sample", *own, f"out={tmp_path / mode}")
        assert outcome.code == 0, outcome.err
        with np.load(tmp_path / mode / "samples.npz") as file:
            images[mode] = file["arr_0"].astype(int)
    assert np.abs(images["max"] - images["none"]).max() <= 2
