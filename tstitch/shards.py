"""Shards: fixed blocks of image indices on disk. What is on disk is the truth; resume makes what is missing."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tstitch.errors import UserError

CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Block:
    """Image indices `start` to `stop - 1`; they never depend on the number of ranks."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.start:08d}-{self.stop:08d}.npz"

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Shard:
    """Images (N, H, W, 3) uint8 and labels (N,) int64 of one block."""

    images: np.ndarray
    labels: np.ndarray


def blocks(num_images: int, batch_size: int) -> list[Block]:
    """The blocks that cover `num_images`; the last one may be shorter."""
    return [Block(start, min(start + batch_size, num_images)) for start in range(0, num_images, batch_size)]


def write_shard(directory: Path, block: Block, shard: Shard, run_id: str) -> None:
    """Write a block's images and labels in the ADM layout (`arr_0`, `arr_1`), atomically."""
    assert len(shard.images) == len(shard.labels) == len(block), "a shard holds exactly its block"
    arrays = {"arr_0": [shard.images], "arr_1": [shard.labels]}
    shapes = {"arr_0": shard.images.shape, "arr_1": shard.labels.shape}
    _write_npz(directory / block.name, shapes, arrays, comment=run_id)


def read_shard(directory: Path, block: Block, run_id: str) -> Shard | None:
    """Read a block's shard, or None where it is missing, damaged (by its CRC-32), or of another run."""
    path = directory / block.name
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.comment != run_id.encode():
                return None
        with np.load(path, allow_pickle=False) as file:
            shard = Shard(file["arr_0"], file["arr_1"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return shard if len(shard.images) == len(shard.labels) == len(block) else None


def read_shards(directory: Path, wanted: Iterable[Block], run_id: str) -> Iterator[Shard]:
    """Read shards in order, one at a time.

    Raises:
        UserError: one is missing or damaged; the sampler makes it again.
    """
    for block in wanted:
        shard = read_shard(directory, block, run_id)
        if shard is None:
            raise UserError(f"shard {directory / block.name} is missing or damaged; run the sampling command again")
        yield shard


def merge_shards(directory: Path, wanted: list[Block], run_id: str, path: Path) -> None:
    """Stream all shards into one `.npz` of the ADM layout: `arr_0` (N, H, W, 3) uint8, `arr_1` (N,) int64.

    Equal shards give equal bytes: the archive holds no times.
    """
    num_images = wanted[-1].stop
    first = next(read_shards(directory, wanted[:1], run_id))
    shapes = {"arr_0": (num_images, *first.images.shape[1:]), "arr_1": (num_images,)}
    arrays = {
        "arr_0": (shard.images for shard in read_shards(directory, wanted, run_id)),
        "arr_1": (shard.labels for shard in read_shards(directory, wanted, run_id)),
    }
    _write_npz(path, shapes, arrays, comment=run_id)


def npz_comment(path: Path) -> str | None:
    """The run that wrote an `.npz` of ours, or None where the file is missing or damaged."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return archive.comment.decode()
    return None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    with _atomic_file(path) as file:
        file.write(data)


class _atomic_file:
    """A binary file under a temporary name that is synced and renamed at the end, or removed on failure."""

    def __init__(self, path: Path):
        self.path, self.temporary = path, path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> BinaryIO:
        self.file = self.temporary.open("wb")
        return self.file

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
        finally:
            self.file.close()
            if kind is not None:
                self.temporary.unlink(missing_ok=True)
        if kind is None:
            self.temporary.replace(self.path)


def _write_npz(path: Path, shapes: dict[str, tuple], arrays: dict[str, Iterable[np.ndarray]], comment: str) -> None:
    """Write arrays, each given in parts along its first axis, uncompressed and without time stamps."""
    with _atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.comment = comment.encode()
        for name, parts in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                for index, part in enumerate(parts):
                    if index == 0:
                        header = {"descr": part.dtype.str, "fortran_order": False, "shape": shapes[name]}
                        np.lib.format.write_array_header_1_0(member, header)
                    data = memoryview(np.ascontiguousarray(part)).cast("B")
                    for start in range(0, len(data), CHUNK_BYTES):
                        member.write(data[start : start + CHUNK_BYTES])
