"""Compiled networks: the same images, and one compilation for each network."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from models.compiled import check_compile_mode
from tests.scripts.command import run_here
from tstitch.errors import UserError

SETTINGS = ["stitch.fractions=[1,0]", "sampler.num_steps=3", "num_images=7", "batch_size=4"]
COMPILERS = [os.environ.get("CXX"), "g++", "clang++"]


@pytest.mark.skipif(not any(c and shutil.which(c) for c in COMPILERS), reason="no C++ compiler in PATH")
def test_compiled_images_are_the_eager_ones_and_nothing_compiles_twice(capfd, monkeypatch, tmp_path: Path) -> None:
    torch.compiler.reset()
    counters.clear()
    images = {}
    for mode in ("none", "default"):
        out = tmp_path / mode
        outcome = run_here(capfd, monkeypatch, "sample", *SETTINGS, f"compile={mode}", f"out={out}")
        assert outcome.code == 0, outcome.err
        with np.load(out / "samples.npz") as file:
            images[mode] = file["arr_0"].astype(int)
    assert images["default"].shape == (7, 32, 32, 3)
    assert np.abs(images["default"] - images["none"]).max() <= 1
    assert counters["stats"]["unique_graphs"] == 2  # the network and the decoder, though the last batch is shorter


def test_no_compiler_is_said_at_once(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    check_compile_mode("none", "cpu")
    with pytest.raises(UserError, match="compile=default needs a C\\+\\+ compiler"):
        check_compile_mode("default", "cpu")
