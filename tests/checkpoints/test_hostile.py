"""Nothing of a checkpoint runs, and no tensor reaches beyond its storage, whatever the file claims."""

import argparse
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch

from checkpoints.read import all_tensors_of, read_checkpoint, state_dict_of
from tests.published.crafted import archive, hostile_pickles, legacy_file, refused, tensor_pickle
from tests.published.hostile import Runs, write_torchscript
from tests.published.torch_files import save

HOSTILE = list(hostile_pickles(Path("canary")))
FORMATS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])


class RunsBySetState:
    def __reduce__(self):
        return eval, ("__import__('os').mkdir('canary')",), {"state": 1}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("place", ["zip", "legacy content", "legacy magic", "legacy system", "legacy keys"])
def test_a_hostile_pickle_is_a_clear_line_and_does_nothing(tmp_path: Path, kind: str, place: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pt"
    content = hostile_pickles(canary)[kind]
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)
    if place == "zip":
        archive(path, {"w/data.pkl": content, "w/version": b"3\n"})
    elif place == "legacy content":
        legacy_file(path, content)
    elif place == "legacy magic":
        path.write_bytes(content)
    elif place == "legacy system":
        path.write_bytes(magic + content)
    else:
        legacy_file(path, b"\x80\x02}.")
        path.write_bytes(path.read_bytes().removesuffix(pickle.dumps([], protocol=2)) + content)
    refused(path)
    assert not canary.exists()
    assert len(list(tmp_path.iterdir())) == 1


@FORMATS
def test_what_would_run_beside_the_tensors_does_not(tmp_path: Path, monkeypatch, legacy: bool) -> None:
    monkeypatch.chdir(tmp_path)
    canary, state = tmp_path / "canary", {"x": torch.randn(3)}
    args = argparse.Namespace(inner=[Runs(canary), {"deep": (RunsBySetState(),)}])
    save({"ema": state, "args": args, "callbacks": {"a": Runs(canary)}, "z": RunsBySetState()}, tmp_path / "w", legacy)
    assert torch.equal(read_checkpoint(tmp_path / "w", state_dict_of)["x"], state["x"])
    save({"ema": {**state, "y": Runs(canary)}}, tmp_path / "w", legacy)
    assert "the entry 'y' is no tensor" in refused(tmp_path / "w")
    assert torch.equal(read_checkpoint(tmp_path / "w", all_tensors_of)["x"], state["x"])
    assert not canary.exists()


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = write_torchscript(tmp_path / "w.pt", canary)
    torch.jit.load(path)
    assert canary.exists(), "the archive does what this test is about"
    canary.unlink()
    assert "a TorchScript archive, which is a program" in refused(path)
    assert not canary.exists()


@pytest.mark.parametrize("place", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ((4, 0, (4,), (1,)), None),
        ((4, 1, (3,), (1,)), None),
        ((4, 0, (2, 2), (0, 1)), None),
        ((4, 0, (5,), (1,)), "beyond its storage"),
        ((4, 1, (4,), (1,)), "beyond its storage"),
        ((4, 0, (2, 2), (3, 1)), "beyond its storage"),
        ((4, 2**40, (1,), (1,)), "beyond its storage"),
        ((4, -1, (4,), (1,)), "no tensor"),
        ((4, 3, (4,), (-1,)), "no tensor"),
        ((4, 0, (-4,), (1,)), "no tensor"),
        ((4, 0, (4,), (1, 1)), "no tensor"),
        ((4, 0, (2**70,), (0,)), "no tensor"),
        ((4, 0, (4.0,), (1,)), "no tensor"),
        ((4, 0, "4", "1"), "no tensor"),
        ((4, 0, (1,) * 100, (1,) * 100), "no tensor"),
        ((4, 0, (2**40,), (0,)), "times the .* bytes of the file"),
        ((4, 0, (2**33, 2**33), (0, 0)), "times the .* bytes of the file"),
        ((5, 0, (4,), (1,)), "claims 20"),
        ((2**50, 0, (4,), (1,)), "claim"),
        ((-4, 0, (4,), (1,)), "no tensor"),
        ((4, 0, (4,), (1,), "DoubleStorage"), "claim"),
        ((4, 0, (4,), (1,), "EvilStorage"), "no tensor"),
    ],
)
def test_a_tensor_never_reaches_beyond_its_storage(tmp_path: Path, place: str, claim: tuple, message) -> None:
    path, numbers = tmp_path / "w.pt", torch.arange(4.0)
    data, content = numbers.numpy().tobytes(), tensor_pickle(*claim)
    if place == "zip":
        archive(path, {"w/data.pkl": content, "w/data/0": data})
    else:
        legacy_file(path, content, ["0"], struct.pack("<q", 4) + data)
    if message is None:
        expected = numbers.as_strided(claim[2], claim[3], claim[1])
        assert torch.equal(read_checkpoint(path, state_dict_of)["x"], expected)
        return
    said = refused(path)
    if place == "zip" or "list" not in said:  # where a storage's kind is unknown, the list of storages has one too many
        assert re.search(message, said), said


@pytest.mark.parametrize("count", [5, -1, 2**40, 2**62])
def test_a_legacy_storage_that_claims_more_than_the_file_has_is_refused(tmp_path: Path, count: int) -> None:
    content = tensor_pickle(4, 0, (4,), (1,))
    path = legacy_file(tmp_path / "w.pt", content, ["0"], struct.pack("<q", count) + bytes(16))
    assert "claims" in refused(path)
