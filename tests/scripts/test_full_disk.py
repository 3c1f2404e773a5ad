"""A file that cannot be written whole: the error names it, what was there stays, and nothing is left beside it."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import make_reference
from evaluation.report.figures import save
from models.weights.actions import convert
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import SMALL
from training.cards import save_weights
from training.trainer import _save
from tstitch.errors import UserError
from tstitch.runs.atomic import write_atomically
from tstitch.runs.json_files import write_json
from tstitch.runs.shards import Block, Shard, merge_shards, write_shard

LIMIT = 4096  # bytes of a file; the writers below write more
BLOCK = Block(0, 4)
SHARD = Shard(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int64))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every write beyond the first bytes of a file fail, as on a full disk; Python ignores the signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def merge(path: Path) -> None:
    merge_shards(path.parent.parent / "shards", [BLOCK], "run", path)


def reference(path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32)
    make_reference(path, FeatureSet(features, None, None), "digits", {}, keep_features=True)


def picture(path: Path) -> None:
    drawn = Figure()
    drawn.subplots().imshow(np.random.default_rng(0).random((64, 64)))
    save(drawn, path)


def checkpoint(path: Path) -> None:
    module = nn.Linear(64, 64)
    _save(path, module, module, [], 1, 0.5, [1.0])


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes.bin": lambda path: write_atomically(path, bytes(10 * LIMIT)),
    "values.json": lambda path: write_json(path, {"values": list(range(LIMIT))}),
    BLOCK.name: lambda path: write_shard(path.parent, BLOCK, SHARD, "run"),
    "samples.npz": merge,
    "reference.npz": reference,
    "curve.png": picture,
    "weights.safetensors": lambda path: save_weights(path, nn.Linear(64, 64), torch.float32),
    "checkpoint.pt": checkpoint,
    "converted.safetensors": lambda path: convert(path.parent.parent / "source.pt", path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", ["nothing", "a good file"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, name: str, before: str) -> None:
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards", BLOCK, SHARD, "run")
    torch.save({"w": torch.zeros(64, 64)}, tmp_path / "source.pt")
    folder = tmp_path / "out with spaces é"
    folder.mkdir()
    path = folder / name
    if before == "a good file":
        WRITERS[name](path)
    good = path.read_bytes() if path.exists() else None
    with full_disk(), pytest.raises((OSError, UserError)) as failed:
        WRITERS[name](path)
    assert name in str(failed.value)
    assert (path.read_bytes() if path.exists() else None) == good
    assert [each.name for each in folder.iterdir()] == ([] if good is None else [name])
    WRITERS[name](path)


def test_a_command_ends_in_a_line_that_names_the_file_and_goes_on_later(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = [*SMALL, f"out='{tmp_path / 'a run é'}'"]
    with full_disk():
        outcome = run_here(capfd, monkeypatch, "sample", *arguments)
    assert outcome.code == 2, outcome.err
    assert outcome.err.endswith(": File too large\n")
    assert f"{tmp_path / 'a run é' / 'shards' / '00000000-00000002.npz'}" in outcome.err
    assert outcome.err.count("\n") == 1
    assert run_here(capfd, monkeypatch, "sample", *arguments).code == 0
    assert (tmp_path / "a run é" / "samples.npz").is_file()


def test_weights_are_converted_into_a_directory_that_is_missing(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "source.pt")
    convert(tmp_path / "source.pt", tmp_path / "new" / "deep" / "weights.safetensors")
    assert (tmp_path / "new" / "deep" / "weights.safetensors").is_file()
    with pytest.raises(UserError, match=r"source\.pt is a file"):
        convert(tmp_path / "source.pt", tmp_path / "source.pt" / "weights.safetensors")


@pytest.mark.parametrize("name", ["évaluation 1", "a:b,c=d", "日本"])
def test_paths_may_have_other_letters_and_spaces(capfd, monkeypatch, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert run_here(capfd, monkeypatch, "sample", *SMALL, f"out='{out}'").code == 0
    outcome = run_here(capfd, monkeypatch, "evaluate", f"run='{out}'", f"out='{out / 'a result é.json'}'")
    assert outcome.code == 0, outcome.err
    assert run_here(capfd, monkeypatch, "evaluate", f"run='{out}'").code == 0
    assert run_here(capfd, monkeypatch, "compare", f"a='{out}'", f"b='{out / 'a result é.json'}'").code == 0
    assert run_here(capfd, monkeypatch, "merge", f"run='{out}'").code == 0


def test_a_file_in_the_place_of_a_directory_is_named(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run_here(capfd, monkeypatch, "sample", *SMALL, f"out={out}").code == 0
    (out / "features").write_text("mine")
    outcome = run_here(capfd, monkeypatch, "evaluate", f"run={out}")
    assert outcome.code == 2
    assert f"{out / 'features'}" in outcome.err
    assert (out / "features").read_text() == "mine"
    assert run_here(capfd, monkeypatch, "latency", f"out={out / 'features' / 'latency.json'}").code == 2
