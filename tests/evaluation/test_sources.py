from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import sources
from evaluation.sources import open_source
from tstitch.errors import UserError

IMAGES = np.random.default_rng(0).integers(256, size=(11, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(11) % 3


def write_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.mark.parametrize("kind", ["stored", "compressed", "folder"])
def test_every_kind_gives_the_same_images_in_parts(tmp_path: Path, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(sources, "PART", 4)
    path = tmp_path / "images.npz"
    if kind == "folder":
        path = write_pngs(tmp_path / "images", IMAGES)
    else:
        {"stored": np.savez, "compressed": np.savez_compressed}[kind](path, IMAGES, LABELS)
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
    with pytest.raises(UserError, match=r"zzz.png is RGB \(8, 3\); want RGB or L \(8, 6\) like the first"):
        [part.load() for part in open_source(folder).parts]
