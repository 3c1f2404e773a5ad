"""Compiled networks: the same images, and one compilation for each network."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config
from hydra import compose, initialize_config_dir
from torch import nn
from torch._dynamo.utils import counters

import sampling.batch
from models.checkout import CONFIG_DIR
from models.placement.compiled import check_compile_mode, compile_network
from sampling.batch import sample_images
from sampling.configuration import checked
from sampling.networks import load_networks
from sampling.plan import Plan, make_plan
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.errors import UserError

SETTINGS = ["stitch.fractions=[1,0]", "sampler.num_steps=3", "num_images=7", "batch_size=4"]
COMPILERS = [os.environ.get("CXX"), "g++", "clang++"]
CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not any(c and shutil.which(c) for c in COMPILERS), reason="no C++ compiler in PATH")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No compilation, and no setting of one, from another test."""
    torch.compiler.reset()
    counters.clear()
    with torch._inductor.config.patch(freezing=False):
        yield


class Tiny(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + 1


def plan(*settings: str) -> Plan:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return make_plan(checked("sample", compose("sample", list(settings))))


@needs_compiler
@pytest.mark.parametrize("mode", ["default", pytest.param("max", marks=pytest.mark.slow)])
def test_compiled_images_are_the_eager_ones_and_nothing_compiles_twice(
    capfd, monkeypatch, tmp_path: Path, mode: str
) -> None:
    images = {}
    for own in ("none", mode):
        out = tmp_path / own
        outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, f"compile={own}", f"out={out}")
        assert outcome.code == 0, outcome.err
        with np.load(out / "samples.npz") as file:
            images[own] = file["arr_0"].astype(int)
    assert images[mode].shape == (7, 32, 32, 3)
    assert np.abs(images[mode] - images["none"]).max() <= 1
    assert counters["stats"]["unique_graphs"] == 1, "the last batch is shorter"


@pytest.mark.long
@needs_compiler
def test_fractions_steps_and_samplers_compile_nothing_anew() -> None:
    """Two denoisers, whatever the allocation, the timesteps, the solver and the weights of guidance."""
    settings = ["compile=default", "device=cpu", "batch_size=2", "precision=[bf16,float32]"]
    networks = load_networks(plan(*settings), CPU)
    for more in (
        ["stitch.fractions=[0.5,0.5]", "sampler.num_steps=2"],
        ["stitch.fractions=[1,0]", "sampler.num_steps=3"],
        ["stitch.fractions=[0,1]", "sampler=plms", "sampler.num_steps=4"],
        ["stitch.denoiser_per_step=[0,1,0]", "sampler=ddpm", "sampler.num_steps=3", "guidance.scale=2"],
    ):
        sample_images(plan(*settings, *more), networks, range(2), CPU)
        assert counters["stats"]["unique_graphs"] <= 2
    assert counters["stats"]["unique_graphs"] == 2


@needs_compiler
def test_more_shapes_than_pytorch_would_compile_for_one_class_are_compiled() -> None:
    """PyTorch gives up on a function after eight compilations, and a network that then runs uncompiled says nothing."""
    check_graphs([Tiny(4), Tiny(5)], "default", batch_sizes=range(1, 6), expected=10)


@needs_compiler
def test_max_freezes_the_weights_of_each_network() -> None:
    """Two networks of one class share a graph unless their weights are constants in it."""
    check_graphs([Tiny(4), Tiny(4)], "max", batch_sizes=[2], expected=2)


def check_graphs(networks: list[Tiny], mode: str, batch_sizes: Sequence[int], expected: int) -> None:
    for network in networks:
        compile_network(network.eval().requires_grad_(False), mode, CPU)
    with torch.inference_mode():
        for batch_size in batch_sizes:
            x = torch.randn(batch_size, 4, generator=torch.Generator().manual_seed(batch_size))
            for network in networks:
                assert torch.allclose(network(x), network.forward(x), atol=1e-5)
    assert counters["stats"]["unique_graphs"] == expected


def test_no_compiler_is_said_at_once(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    check_compile_mode("none", "cpu")
    with pytest.raises(UserError, match="compile=default needs a C\\+\\+ compiler"):
        check_compile_mode("default", "cpu")


@pytest.mark.parametrize("mode", ["default", "max"])
def test_a_gpu_needs_a_c_compiler(monkeypatch, tmp_path: Path, mode: str) -> None:
    """Triton compiles the launcher of each kernel with CC, or with gcc or clang."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)

    def make_executable(name: str) -> None:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    make_executable("g++")  # which is for a CPU
    check_compile_mode("none", "auto")
    with pytest.raises(UserError, match=f"compile={mode} needs a C compiler \\(gcc or clang\\) in PATH, or CC to name"):
        check_compile_mode(mode, "auto")
    make_executable("gcc")
    check_compile_mode(mode, "cuda")
    monkeypatch.setenv("CC", "icx")
    with pytest.raises(UserError, match="CC to name one \\(now icx\\)"):
        check_compile_mode(mode, "cuda")
    make_executable("icx")
    check_compile_mode(mode, "cuda")


@pytest.mark.parametrize("mode", ["default", "max"])
def test_staged_networks_are_not_compiled_again_and_again(capfd, monkeypatch, tmp_path: Path, mode: str) -> None:
    settings = ["residency=staged", f"compile={mode}", "device=cpu", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    check_one_line(outcome, f"residency=staged loads networks again and again, and compile={mode} would compile")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@needs_compiler
def test_what_breaks_in_an_image_that_only_fills_the_batch_is_nothing(capfd, monkeypatch, tmp_path: Path) -> None:
    """Seven images in batches of four: the eighth is sampled too, so that the batch has its compiled size."""
    original, batches = sampling.batch._decode, []

    def decode(*arguments: object) -> torch.Tensor:
        pixels = original(*arguments)
        batches.append(len(pixels))
        if len(batches) == 2:
            pixels[3] = torch.nan
        return pixels

    monkeypatch.setattr(sampling.batch, "_decode", decode)
    out = tmp_path / "out"
    own = [*SETTINGS, "compile=default", "precision=bf16", "device=cpu", f"out={out}"]
    outcome = run_here(capfd, monkeypatch, "sample", *own)
    assert outcome.code == 0, outcome.err
    assert batches == [4, 4]
    with np.load(out / "samples.npz") as file:
        assert len(file["arr_0"]) == len(file["arr_1"]) == 7


@needs_compiler
def test_what_breaks_in_a_short_batch_itself_is_still_seen(capfd, monkeypatch, tmp_path: Path) -> None:
    original = sampling.batch._decode

    def decode(*arguments: object) -> torch.Tensor:
        pixels = original(*arguments)
        pixels[2:] = torch.nan
        return pixels

    monkeypatch.setattr(sampling.batch, "_decode", decode)
    own = [*SETTINGS, "num_images=3", "compile=default", "device=cpu", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *own)
    check_one_line(outcome, "image 2 (label")
    assert "more of its batch" not in outcome.err
