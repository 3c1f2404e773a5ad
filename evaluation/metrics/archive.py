"""Arrays of an `.npz` that are held against the archive's checksums once, in a stream, and then read in parts."""

import hashlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tstitch.errors import UserError

CHUNK_BYTES = 1 << 22
LOCAL_HEADER = 26  # bytes of a member's local header before the lengths of its name and extra field
# All that zipfile and numpy raise on damaged files.
UNREADABLE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, MemoryError,
    OverflowError, IndexError, SyntaxError, RecursionError, tokenize.TokenError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class StoredArray:
    """The layout of an array in an `.npz`; its data begin `header_size` bytes into the member."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    header_size: int
    data_offset: int | None  # of the uncompressed data in the file; None where they are compressed

    @property
    def member(self) -> str:
        return f"{self.name}.npy"

    @cached_property
    def _stream(self) -> BinaryIO:
        """The data, open from one call of `rows` to the next: going on in a compressed member costs nothing."""
        return self.path.open("rb") if self.data_offset is not None else zipfile.ZipFile(self.path).open(self.member)

    @cached_property
    def _whole(self) -> np.ndarray:
        """The array in memory, for Fortran order."""
        return read_array(self.path, self.name)

    def part_digests(self, num_rows: int) -> list[str]:
        """Check the whole member and give the SHA-256 of every `num_rows` rows along the first axis.

        All bytes are read once, a few MB at a time; the archive's CRC-32 is compared at the end of them. In Fortran
        order the rows do not lie together: every part then has the digest of all data.

        Raises:
            UserError: the data are damaged.
        """
        row_bytes = self.dtype.itemsize * prod(self.shape[1:])
        size = self.shape[0] * row_bytes
        part_bytes = size if self.fortran_order else num_rows * row_bytes
        digests = []
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
                member.read(self.header_size)
                for start in range(0, size, max(part_bytes, 1)):
                    digest = hashlib.sha256()
                    for data in _chunks(member, min(part_bytes, size - start)):
                        digest.update(data)
                    digests.append(digest.hexdigest())
                if member.read(1):  # at the end zipfile compares the checksum
                    raise EOFError("it holds more bytes than its header says")
        except UNREADABLE as error:
            raise UserError(f"{self.path}: {self.name} is damaged ({error})") from error
        return digests if not self.fortran_order else digests * -(-self.shape[0] // num_rows)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read rows along the first axis; nothing else of the array is kept in memory, Fortran order apart.

        Compressed data are read from the beginning again where `start` lies before the last call's `stop`.

        Raises:
            UserError: the file cannot be read any more.
        """
        if self.fortran_order:
            return np.ascontiguousarray(self._whole[start:stop])
        row_bytes = self.dtype.itemsize * prod(self.shape[1:])
        beginning = self.header_size if self.data_offset is None else self.data_offset
        try:
            self._stream.seek(beginning + start * row_bytes)
            data = b"".join(_chunks(self._stream, (stop - start) * row_bytes))
        except UNREADABLE as error:
            raise UserError(f"{self.path}: {self.name} cannot be read ({error})") from error
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])


def stored_array(path: Path, name: str) -> StoredArray:
    """Read the header of an array of an `.npz`, and check that the archive holds as many bytes as it says.

    Raises:
        UserError: the file is no readable `.npz`, or the array is missing, of Python objects, or cut off.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            if name not in names:
                raise UserError(f"{path} has no array {name!r}; it has {', '.join(names) or 'none'}")
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                if version not in HEADERS:
                    raise ValueError(f"unknown version {version} of the array format")
                shape, fortran_order, dtype = HEADERS[version](member)
                header_size = member.tell()
            offset = _data_offset(path, info) + header_size if info.compress_type == zipfile.ZIP_STORED else None
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    if dtype.hasobject:
        raise UserError(f"{path}: {name} holds Python objects (a pickle), which are not read; want numbers")
    promised, present = prod(shape) * dtype.itemsize, info.file_size - header_size
    if any(length < 0 for length in shape) or promised != present:
        raise UserError(
            f"{path}: the header of {name} says shape {shape} of {dtype}, {promised} bytes; there are {present}"
        )
    return StoredArray(path, name, shape, dtype, fortran_order, header_size, offset)


def read_array(path: Path, name: str) -> np.ndarray:
    """Read a whole array, checked as `stored_array` and against its checksum.

    Raises:
        UserError: as `stored_array`, or damaged data.
    """
    array = stored_array(path, name)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(array.member) as member:
            values = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):  # at the end zipfile compares the checksum
                raise EOFError("it holds more bytes than its header says")
    except UNREADABLE as error:
        raise UserError(f"{path}: {name} is damaged ({error})") from error
    return values


def array_names(path: Path) -> list[str]:
    """The names of the arrays of an `.npz`.

    Raises:
        UserError: the file is not a readable `.npz`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.removesuffix(".npy") for member in archive.namelist()]
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes: after its local header, which has lengths of its own."""
    with path.open("rb") as file:
        file.seek(info.header_offset + LOCAL_HEADER)
        name_size, extra_size = struct.unpack("<HH", file.read(4))
    return info.header_offset + LOCAL_HEADER + 4 + name_size + extra_size


def _chunks(member: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        data = member.read(min(CHUNK_BYTES, size))
        if not data:
            raise EOFError("it ends before its last byte")
        size -= len(data)
        yield data
