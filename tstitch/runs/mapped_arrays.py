"""Arrays of an `.npz` where they lie in the file: read as they are used, and never all at once."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch.runs.npz_layout import read_layout


@dataclass(frozen=True)
class ArrayPlace:
    """Where an array lies in a file, whose bytes were held against their checksum once. No file is held open."""

    path: Path
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: str

    def open(self) -> np.memmap:
        """Map the array, which holds a file open as long as it lives."""
        return np.memmap(self.path, self.dtype, "r", self.start, self.shape, self.order)


def map_array(path: Path, name: str) -> np.ndarray:
    """Read an array of an `.npz`, mapped from the file where it is uncompressed, as by `numpy.savez`.

    All of it is held against its checksum first.

    Raises:
        zipfile.BadZipFile: the data differ from their CRC-32.
    """
    if read_layout(path, name).data_offset is not None:
        return place_array(path, name).open()
    with np.load(path, allow_pickle=False) as file:
        return file[name]


def place_array(path: Path, name: str) -> ArrayPlace:
    """Find an array of an `.npz` that is not compressed.

    Raises:
        zipfile.BadZipFile: the data differ from their CRC-32.
        ValueError: it is compressed.
    """
    layout = read_layout(path, name)
    if layout.data_offset is None:
        raise ValueError(f"{name} is compressed")
    member = np.memmap(path, mode="r", offset=layout.data_offset - layout.header_size, shape=(layout.member_size,))
    if zlib.crc32(member) != layout.crc:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file '{name}.npy'")
    return ArrayPlace(path, layout.data_offset, layout.shape, layout.dtype, "F" if layout.fortran_order else "C")
