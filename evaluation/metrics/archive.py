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
from tstitch.runs.npz_layout import ArrayLayout, read_layout

CHUNK_BYTES = 1 << 22
# All that zipfile and numpy raise on damaged files.
UNREADABLE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, MemoryError,
    OverflowError, IndexError, SyntaxError, RecursionError, tokenize.TokenError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class StoredArray:
    """An array in an `.npz`, by its layout."""

    path: Path
    name: str
    layout: ArrayLayout

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype:
        return self.layout.dtype

    @property
    def member(self) -> str:
        return f"{self.name}.npy"

    @cached_property
    def _stream(self) -> BinaryIO:
        """The data, open from one call of `rows` to the next: going on in a compressed member costs nothing."""
        if self.layout.data_offset is not None:
            return self.path.open("rb")
        return zipfile.ZipFile(self.path).open(self.member)

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
        part_bytes = size if self.layout.fortran_order else num_rows * row_bytes
        digests = []
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
                member.read(self.layout.header_size)
                for start in range(0, size, max(part_bytes, 1)):
                    digest = hashlib.sha256()
                    for data in _chunks(member, min(part_bytes, size - start)):
                        digest.update(data)
                    digests.append(digest.hexdigest())
                if member.read(1):  # at the end zipfile compares the checksum
                    raise EOFError("it holds more bytes than its header says")
        except UNREADABLE as error:
            raise UserError(f"{self.path}: {self.name} is damaged ({error})") from error
        return digests if not self.layout.fortran_order else digests * -(-self.shape[0] // num_rows)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read rows along the first axis; nothing else of the array is kept in memory, Fortran order apart.

        Compressed data are read from the beginning again where `start` lies before the last call's `stop`.

        Raises:
            UserError: the file cannot be read any more.
        """
        if self.layout.fortran_order:
            return np.ascontiguousarray(self._whole[start:stop])
        row_bytes = self.dtype.itemsize * prod(self.shape[1:])
        beginning = self.layout.header_size if self.layout.data_offset is None else self.layout.data_offset
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
    if name not in (names := array_names(path)):
        raise UserError(f"{path} has no array {name!r}; it has {', '.join(names) or 'none'}")
    try:
        layout = read_layout(path, name)
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    shape, dtype = layout.shape, layout.dtype
    if dtype.hasobject:
        raise UserError(f"{path}: {name} holds Python objects (a pickle), which are not read; want numbers")
    promised, present = prod(shape) * dtype.itemsize, layout.member_size - layout.header_size
    if any(length < 0 for length in shape) or promised != present:
        raise UserError(
            f"{path}: the header of {name} says shape {shape} of {dtype}, {promised} bytes; there are {present}"
        )
    return StoredArray(path, name, layout)


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


def _chunks(member: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        data = member.read(min(CHUNK_BYTES, size))
        if not data:
            raise EOFError("it ends before its last byte")
        size -= len(data)
        yield data
