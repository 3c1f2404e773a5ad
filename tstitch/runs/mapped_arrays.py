"""Arrays of an `.npz` where they lie in the file: read as they are used, and never all at once."""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LOCAL_HEADER = 26  # bytes of a zip member's own header before the lengths of its name and extra field


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
    with zipfile.ZipFile(path) as archive:
        is_compressed = archive.getinfo(f"{name}.npy").compress_type != zipfile.ZIP_STORED
    if not is_compressed:
        return place_array(path, name).open()
    with np.load(path, allow_pickle=False) as file:
        return file[name]


def place_array(path: Path, name: str) -> ArrayPlace:
    """Find an array of an `.npz` that is not compressed.

    Raises:
        zipfile.BadZipFile: the data differ from their CRC-32.
        ValueError: it is compressed.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            header_1_0, header_2_0 = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
            shape, fortran, dtype = (header_1_0 if version == (1, 0) else header_2_0)(member)
            header_size = member.tell()
    with path.open("rb") as file:
        file.seek(info.header_offset + LOCAL_HEADER)
        name_size, extra_size = struct.unpack("<HH", file.read(4))
    start = info.header_offset + LOCAL_HEADER + 4 + name_size + extra_size
    if zlib.crc32(np.memmap(path, mode="r", offset=start, shape=(info.file_size,))) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return ArrayPlace(path, start + header_size, shape, dtype, "F" if fortran else "C")
