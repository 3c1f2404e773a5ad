"""The two file formats of PyTorch's checkpoints: zip archives since 2020, and a sequence of pickles before.

Source: the documentation of `torch.save`, and the layout in `torch/serialization.py`.
"""

import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from checkpoints.pickles import read_pickle
from checkpoints.stored_tensors import Storage, construct_tensor, resolve_storage

ZIP_MAGIC, TAR_MAGIC, TAR_MAGIC_AT = b"PK\x03\x04", b"ustar", 257
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
CHUNK_BYTES = 1 << 24


class UnreadableCheckpointError(Exception):
    """A file that is no checkpoint, or a damaged one."""


class CheckpointFile(Protocol):
    """An open checkpoint: its content, whose tensors are `StoredTensor`, and the storages that these are views of."""

    content: object

    def read(self, storage: Storage) -> Tensor:
        """Read the bytes of a storage."""


def open_checkpoint(file: BinaryIO, size: int) -> CheckpointFile:
    """Read the content of a checkpoint of `size` bytes; its storages stay in `file`."""
    start = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    file.seek(0)
    if start.startswith(ZIP_MAGIC):
        return _Archive(file)
    if start[TAR_MAGIC_AT:] == TAR_MAGIC:
        raise UnreadableCheckpointError("a tar file, as PyTorch wrote before 2017; save it again with a later one")
    return _Legacy(file, size)


class _Archive:
    """A zip archive: `ROOT/data.pkl`, and each storage as `ROOT/data/KEY`, none of them compressed."""

    def __init__(self, file: BinaryIO):
        self.archive = zipfile.ZipFile(file)
        names = self.archive.namelist()
        if any(Path(name).name == "constants.pkl" or "/code/" in name for name in names):
            raise UnreadableCheckpointError("a TorchScript archive, which is a program; want tensors by name")
        roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise UnreadableCheckpointError(f"a zip archive with {len(roots)} data.pkl, where a checkpoint has one")
        self.root = roots[0]
        order = f"{self.root}/byteorder"
        if order in names and self._open(order).read(16) != b"little":
            raise UnreadableCheckpointError("its numbers are not little-endian")
        content = self._open(f"{self.root}/data.pkl").read()
        self.content = read_pickle(BytesIO(content), len(content), construct_tensor, resolve_storage)

    def _open(self, name: str) -> BinaryIO:
        """Open a record, whose checksum is compared at its end."""
        record = self.archive.getinfo(name)
        if record.compress_type != zipfile.ZIP_STORED:
            raise UnreadableCheckpointError(f"{name} is compressed, which torch.save never does")
        if record.CRC == 0:  # torch.serialization.set_crc32_options(False) leaves checksums out
            record.CRC = None
        return self.archive.open(record)

    def read(self, storage: Storage) -> Tensor:
        name = f"{self.root}/data/{storage.key}"
        if name not in self.archive.NameToInfo:
            raise UnreadableCheckpointError(f"the storage {storage.key[:80]!r} is missing")
        num_bytes = self.archive.getinfo(name).file_size
        if num_bytes != storage.num_bytes:
            raise UnreadableCheckpointError(f"a storage of {num_bytes} bytes claims {storage.num_bytes}")
        with self._open(name) as record:
            return _read_into(record, num_bytes)


class _Legacy:
    """The format before 2020: magic number, protocol, system, content and keys as pickles, then the storages.

    Each storage is its length, in 8 bytes, and its numbers.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.file, declared = file, {}

        def remember(identifier: object) -> object:
            storage = resolve_storage(identifier)
            if isinstance(storage, Storage):
                declared.setdefault(storage.key, storage)
            return storage

        if read_pickle(file, size, construct_tensor, resolve_storage) != LEGACY_MAGIC:
            raise UnreadableCheckpointError("a pickle, but none of torch.save")
        if read_pickle(file, size, construct_tensor, resolve_storage) != LEGACY_PROTOCOL:
            raise UnreadableCheckpointError("an unknown version of the format")
        system = read_pickle(file, size, construct_tensor, resolve_storage)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise UnreadableCheckpointError("its numbers are not little-endian")
        self.content = read_pickle(file, size, construct_tensor, remember)
        keys = read_pickle(file, size, construct_tensor, resolve_storage)
        if not isinstance(keys, list) or not all(isinstance(key, str) and key in declared for key in keys):
            raise UnreadableCheckpointError("it lists storages that it does not use")
        self.records: dict[str, tuple[int, int]] = {}  # position and number of bytes
        for key in keys:
            num_bytes = int.from_bytes(file.read(8), "little", signed=True) * declared[key].dtype.itemsize
            if num_bytes < 0 or file.tell() + num_bytes > size:
                raise UnreadableCheckpointError(f"a storage claims {num_bytes} bytes, which the file does not have")
            self.records[key] = file.tell(), num_bytes
            file.seek(num_bytes, os.SEEK_CUR)

    def read(self, storage: Storage) -> Tensor:
        if storage.key not in self.records:
            raise UnreadableCheckpointError(f"the storage {storage.key[:80]!r} is missing")
        position, num_bytes = self.records[storage.key]
        if num_bytes != storage.num_bytes:
            raise UnreadableCheckpointError(f"a storage of {num_bytes} bytes claims {storage.num_bytes}")
        self.file.seek(position)
        return _read_into(self.file, num_bytes)


def _read_into(file: BinaryIO, num_bytes: int) -> Tensor:
    buffer = torch.empty(num_bytes, dtype=torch.uint8)
    view, position = memoryview(buffer.numpy()), 0
    while position < num_bytes:
        count = file.readinto(view[position : position + CHUNK_BYTES])
        if not count:
            raise UnreadableCheckpointError(f"a storage ends after {position} of {num_bytes} bytes")
        position += count
    return buffer
