"""PNG files of images: the header is checked before a pixel is decoded."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tstitch.errors import UserError

SIGNATURE, HEADER_BYTES = b"\x89PNG\r\n\x1a\n", 26
EIGHT_BITS = 8
COLOURS = {0: "L", 2: "RGB", 3: "a palette", 4: "LA", 6: "RGBA"}  # by the colour type of the PNG standard
LARGEST_SIDE = 8192  # pixels; extractors take a few hundred
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, UnidentifiedImageError)


@dataclass(frozen=True)
class PngHeader:
    """The layout of an image, from the first bytes of its file."""

    path: Path
    width: int
    height: int
    mode: str

    @property
    def layout(self) -> str:
        return f"{self.mode} of {self.width}x{self.height} pixels"


def read_header(path: Path) -> PngHeader:
    """Read the header of a PNG of 8 bits a channel, grey or RGB.

    Raises:
        UserError: another kind of file, a cut one, other channels, or an image too large to be one of these.
    """
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start.startswith(SIGNATURE) or start[12:16] != b"IHDR"[: len(start[12:16])]:
        raise UserError(f"{path} is no PNG, whatever its name says; JPEG and others lose detail, so give PNGs")
    if len(start) < HEADER_BYTES:
        raise UserError(f"{path} is damaged: it ends within its header")
    width, height, bits, colour = struct.unpack(">IIBB", start[16:HEADER_BYTES])
    header = PngHeader(path, width, height, COLOURS.get(colour, f"colour type {colour}"))
    if bits != EIGHT_BITS or header.mode not in ("L", "RGB"):
        raise UserError(f"{path} is {header.mode} with {bits} bits a channel; want RGB or L with {EIGHT_BITS}")
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise UserError(f"{path} has {width}x{height} pixels; want at most {LARGEST_SIDE} a side")
    return header


def check_alike(first: PngHeader, other: PngHeader) -> None:
    """Raise `UserError` unless two images have the same size; grey and RGB may be mixed."""
    if (first.width, first.height) != (other.width, other.height):
        raise UserError(f"{other.path} is {other.layout}; want {first.width}x{first.height}, as {first.path.name} has")


def read_png(path: Path, first: PngHeader) -> np.ndarray:
    """Read an image as bytes (H, W, 3).

    Args:
        first: the header of an image that it must be alike.

    Raises:
        UserError: the file is damaged, or has changed since its header was read.
    """
    check_alike(first, read_header(path))
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except DAMAGED as error:
        raise UserError(f"{path} is a damaged PNG ({error})") from error
