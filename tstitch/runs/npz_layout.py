"""Where an array of an `.npz` lies in its file."""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LOCAL_HEADER = 26  # bytes of a member's local header before the lengths of its name and extra field
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class ArrayLayout:
    """An array of an `.npz`; its data begin `header_size` bytes into a member of `member_size` bytes.

    Attributes:
        crc: CRC-32 of the member, header and data.
        data_offset: of the uncompressed data in the file; None where they are compressed.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    header_size: int
    member_size: int
    crc: int
    data_offset: int | None


def read_layout(path: Path, name: str) -> ArrayLayout:
    """Read the headers of array `name`.

    Raises:
        ValueError: the version of its format is unknown. What zipfile and numpy raise on damaged files comes through.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            if version not in HEADERS:
                raise ValueError(f"unknown version {version} of the array format")
            shape, fortran_order, dtype = HEADERS[version](member)
            header_size = member.tell()
    is_stored = info.compress_type == zipfile.ZIP_STORED
    offset = _member_offset(path, info.header_offset) + header_size if is_stored else None
    return ArrayLayout(shape, dtype, fortran_order, header_size, info.file_size, info.CRC, offset)


def _member_offset(path: Path, header_offset: int) -> int:
    """Return the offset of a member's bytes: after its local header, which has lengths of its own."""
    with path.open("rb") as file:
        file.seek(header_offset + LOCAL_HEADER)
        name_size, extra_size = struct.unpack("<HH", file.read(4))
    return header_offset + LOCAL_HEADER + 4 + name_size + extra_size
