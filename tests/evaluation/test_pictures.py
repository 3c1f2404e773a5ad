"""PNGs that cannot be scored: each is refused in a line that names it, and by its header where that is enough."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics.sources import open_source
from tstitch.errors import UserError

PIXELS = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8)


def header_of(side: int) -> bytes:
    """Make a PNG that claims `side` pixels a side and has no pixel."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def damaged(path: Path, kind: str) -> None:
    image = Image.fromarray(PIXELS)
    if kind == "jpeg":
        image.save(path, format="JPEG")
    elif kind == "alpha":
        image.convert("RGBA").save(path)
    elif kind == "palette":
        image.convert("P").save(path)
    elif kind == "sixteen bits":
        Image.fromarray(PIXELS[..., 0].astype(np.uint16)).save(path)
    elif kind == "huge":
        path.write_bytes(header_of(60_000))
    elif kind == "other size":
        image.resize((4, 4)).save(path)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-60])
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "header alone": path.read_bytes()[:20]}[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("jpeg", "is no PNG"),
        ("empty", "is no PNG"),
        ("text", "is no PNG"),
        ("alpha", "is RGBA with 8 bits a channel; want RGB or L with 8"),
        ("palette", "is a palette with 8 bits"),
        ("sixteen bits", "is L with 16 bits"),
        ("huge", "has 60000x60000 pixels; want at most 8192 a side"),
        ("other size", "is RGB of 4x4 pixels; want 8x6, as a.png has"),
        ("header alone", "is damaged: it ends within its header"),
        ("cut", "is a damaged PNG"),
    ],
)
def test_the_message_names_the_file(tmp_path: Path, kind: str, message: str) -> None:
    for name in ("a", "b"):
        Image.fromarray(PIXELS).save(tmp_path / f"{name}.png")
    assert open_source(tmp_path).parts[0].load().shape == (2, 6, 8, 3)
    damaged(tmp_path / "b.png", kind)
    with pytest.raises(UserError, match=f"b.png {message}"):
        [part.load() for part in open_source(tmp_path).parts]


def test_grey_and_rgb_are_read_alike(tmp_path: Path) -> None:
    grey = np.repeat(PIXELS[..., :1], 3, axis=-1)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "b.png")
    first, second = open_source(tmp_path).parts[0].load()
    assert np.array_equal(first, second)
