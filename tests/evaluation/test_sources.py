import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.metrics import sources
from evaluation.metrics.extractors import Features, load_extractor
from evaluation.metrics.features import FeatureCache, gather_features
from evaluation.metrics.sources import open_source
from tests.conftest import ROOT
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks

IMAGES = np.random.default_rng(0).integers(256, size=(11, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(11) % 3


def write_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.mark.parametrize("kind", ["stored", "compressed", "fortran", "compressed_fortran", "folder"])
def test_every_kind_gives_the_same_images_in_parts(tmp_path: Path, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(sources, "PART", 4)
    path = tmp_path / "images.npz"
    if kind == "folder":
        path = write_pngs(tmp_path / "images", IMAGES)
    else:
        images = np.asfortranarray(IMAGES) if kind.endswith("fortran") else IMAGES
        (np.savez_compressed if kind.startswith("compressed") else np.savez)(path, images, LABELS)
    source = open_source(path)
    assert source.num == 11
    assert tuple(source.side) == (6, 8)
    assert [part.num for part in source.parts] == [4, 4, 3]
    assert np.array_equal(np.concatenate([part.load() for part in source.parts]), IMAGES)
    assert source.labels is None if kind == "folder" else np.array_equal(source.labels, LABELS)
    assert len({part.key for part in source.parts}) == 3


def test_other_images_have_other_keys(tmp_path: Path) -> None:
    keys = set()
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", IMAGES + np.uint8(number))
        keys |= {part.key for part in open_source(tmp_path / f"{number}.npz").parts}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.astype(np.float32) / 255, "arr_0 is float32; images must be bytes"),
        (np.full_like(IMAGES, np.nan, dtype=np.float32), "arr_0 is float32; images must be bytes"),
        (IMAGES[..., :1], r"shape \(11, 6, 8, 1\); images must be \(N, H, W, 3\)"),
        (IMAGES[:1], "holds 1 image; statistics need at least 2"),
    ],
)
def test_images_that_cannot_be_scored_are_refused(tmp_path: Path, images: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "images.npz", images)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / "images.npz")


def test_places_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give a run's directory"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no run and no \.png files; JPEG loses detail"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty" / "a.jpeg").write_bytes(b"")
    with pytest.raises(UserError, match=r"no \.png files but \['\.jpeg'\]"):
        open_source(tmp_path / "empty")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        open_source(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", pictures=IMAGES)
    with pytest.raises(UserError, match="has no array 'arr_0'; it has pictures"):
        open_source(tmp_path / "other.npz")
    folder = write_pngs(tmp_path / "mixed", IMAGES)
    Image.fromarray(IMAGES[0, :3]).save(folder / "zzz.png")
    with pytest.raises(UserError, match=r"zzz.png is RGB of 8x3 pixels; want 8x6, as 000.png has"):
        [part.load() for part in open_source(folder).parts]


SAVERS = {"stored": np.savez, "compressed": np.savez_compressed}


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def rewrite_header(path: Path, member: str, old: bytes, new: bytes, save: str) -> None:
    """Change an array's header and leave everything else, checksums included, as a writer would have made it."""
    with zipfile.ZipFile(path) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    assert contents[member].count(old) == 1
    contents[member] = contents[member].replace(old, new)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if save == "compressed" else zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_a_damaged_file_is_refused(tmp_path: Path, save: str, where: float) -> None:
    path = tmp_path / "images.npz"
    SAVERS[save](path, IMAGES)
    flip(path, int(where * path.stat().st_size))
    with pytest.raises(UserError, match=r"images\.npz"):
        open_source(path)


@pytest.mark.parametrize("save", SAVERS)
def test_other_images_under_the_old_checksum_are_refused(tmp_path: Path, save: str) -> None:
    """A file whose data were changed with the checksum in its directory left as it was."""
    path = tmp_path / "images.npz"
    SAVERS[save](path, IMAGES)
    with zipfile.ZipFile(path) as archive:
        checksum = archive.getinfo("arr_0.npy").CRC
    SAVERS[save](path, IMAGES[::-1])
    with zipfile.ZipFile(path) as archive:
        other = archive.getinfo("arr_0.npy").CRC
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", other), struct.pack("<I", checksum)))
    with pytest.raises(UserError, match="Bad CRC-32"):
        open_source(path)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("promised", [b"(12, 6, 8, 3)", b"(10, 6, 8, 3)", b"(99, 6, 8, 3)"])
def test_a_header_that_promises_another_number_of_images_is_refused(tmp_path: Path, save: str, promised: bytes) -> None:
    path = tmp_path / "images.npz"
    SAVERS[save](path, IMAGES)
    rewrite_header(path, "arr_0.npy", b"(11, 6, 8, 3)", promised, save)
    with pytest.raises(UserError, match=r"the header of arr_0 says shape \(\d+, 6, 8, 3\) of uint8"):
        open_source(path)


def test_pickles_and_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"arr_0 holds Python objects \(a pickle\)"):
        open_source(path)
    np.savez(path, IMAGES, np.array([{}] * 11, dtype=object))
    with pytest.raises(UserError, match="arr_1 holds Python objects"):
        open_source(path)
    np.savez(path, IMAGES, LABELS[:5])
    with pytest.raises(UserError, match=r"arr_1 has shape \(5,\); want a label for each of 11 images"):
        open_source(path)


@pytest.mark.parametrize("save", SAVERS)
def test_images_that_change_after_the_check_are_refused(tmp_path: Path, save: str) -> None:
    path = tmp_path / "images.npz"
    SAVERS[save](path, IMAGES)
    source = open_source(path)
    SAVERS[save](path, IMAGES[::-1])
    with pytest.raises(UserError, match=r"changed while it was read|cannot be read"):
        source.parts[0].load()


def test_keys_follow_the_content_and_not_the_checksum(tmp_path: Path) -> None:
    """The same bytes as images of another shape, and the same images in another container."""
    np.savez(tmp_path / "a.npz", IMAGES)
    np.savez(tmp_path / "b.npz", IMAGES.reshape(11, 8, 6, 3))
    np.savez_compressed(tmp_path / "c.npz", IMAGES)
    first, turned, packed = ([part.key for part in open_source(tmp_path / f"{name}.npz").parts] for name in "abc")
    assert set(first).isdisjoint(turned)
    assert first == packed


@pytest.mark.parametrize("damage", ["data", "cut", "empty", "text", "other", "narrow", "nan", "no logits"])
def test_a_damaged_feature_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    extractor = load_extractor("digits", ROOT / "models/zoo/digits/classifier.safetensors", torch.device("cpu"))
    np.savez(tmp_path / "images.npz", np.random.default_rng(0).integers(256, size=(6, 32, 32, 3), dtype=np.uint8))
    source, cache = open_source(tmp_path / "images.npz"), FeatureCache(tmp_path / "features", extractor)
    expected = gather_features(source, extractor, cache, Ranks(0, 1, 0, 1)).pool
    [path] = cache.directory.iterdir()
    if damage == "data":
        flip(path, path.stat().st_size // 2)
    elif damage == "narrow":
        cache.write(source.parts[0], Features(np.zeros(6, np.float32)))
    elif damage in ("nan", "no logits"):
        pool = np.full((6, 64), np.nan if damage == "nan" else 0, np.float32)
        cache.write(source.parts[0], Features(pool, np.zeros((6, 10), np.float32) if damage == "nan" else None))
    elif damage == "other":
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes({"cut": path.read_bytes()[:-40], "empty": b"", "text": b"hello"}[damage])
    assert np.array_equal(gather_features(source, extractor, cache, Ranks(0, 1, 0, 1)).pool, expected)
