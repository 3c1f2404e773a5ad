"""Data sets of the zoo: idx files as the MNIST family publishes them, whole, damaged and of others."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.command import run_here
from training.idx import read_idx
from training.images import load_images
from tstitch.errors import UserError


def idx(array: np.ndarray) -> bytes:
    """The format by its definition: two zeros, 8 for unsigned bytes, the number of dimensions, sizes, values."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(3, 28, 28), (7,), (0, 2)])
def test_idx_files_plain_and_gzipped(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(idx(values)) if suffix else idx(values))
    assert np.array_equal(read_idx(path), values)


def test_damaged_idx_files_are_named(tmp_path: Path) -> None:
    good = idx(np.ones((3, 4, 4)))
    of_floats = struct.pack(">BBBBI", 0, 0, 13, 1, 2) + b"\0" * 8
    damages = {
        "a": b"", "b": b"\0\0", "c": good[:7], "d": good[:-1], "e": good + b"x", "f": b"\x89PNG1234", "g": of_floats,
        "h.gz": b"not gzip", "i.gz": gzip.compress(good)[:-12], "j.gz": gzip.compress(good[:-1]),
    }  # fmt: skip
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name} (is no idx file|holds|cannot be read)"):
            read_idx(tmp_path / name)


def write_fashion(folder: Path, num: int = 60_000, label: int = 9) -> None:
    for part, count in (("train", num), ("t10k", 10_000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 5] = np.arange(count) % 251
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % label))


def test_fashion_comes_from_a_folder_of_idx_files(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    fashion = load_images("fashion", tmp_path)
    assert fashion.images.shape == (60_000, 32, 32)
    assert fashion.images[200, 5, 7] == 200
    assert not fashion.images[:, :2].any()
    assert not fashion.images[:, :, -2:].any()
    assert fashion.held_out[0].shape == (10_000, 32, 32)
    assert len(fashion.seen) == 60_000


@pytest.mark.parametrize(("num", "label"), [(59_999, 9), (60_000, 11)])
def test_another_data_set_is_refused(tmp_path: Path, num: int, label: int) -> None:
    write_fashion(tmp_path, num, label)
    with pytest.raises(UserError, match="Fashion-MNIST has 60000 images of 28x28"):
        load_images("fashion", tmp_path)


def test_a_folder_without_the_files_says_which(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = ["recipe=classifier", "images=fashion", f"zoo={tmp_path / 'zoo'}", f"out={tmp_path / 'out'}"]
    empty = run_here(capfd, monkeypatch, "train", *settings, f"images.folder={tmp_path}")
    assert empty.code == 2
    assert f"images.folder={tmp_path} has no train-images-idx3-ubyte.gz and no train-images-idx3-ubyte" in empty.err
    without = run_here(capfd, monkeypatch, "train", *settings)
    assert without.code == 2
    assert "images.folder" in without.err
    assert not (tmp_path / "out").exists()
