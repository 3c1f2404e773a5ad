"""Shards: fixed blocks of image indices on disk. What is on disk is the truth; resume makes what is missing."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from tstitch.errors import UserError
from tstitch.runs.atomic import atomic_file
from tstitch.runs.atomic import write_atomically as write_atomically  # callers import it from here
from tstitch.runs.mapped_arrays import map_array

CHUNK_BYTES = 1 << 22
MOST_BLOCKS = 10**6
IMAGES, LABELS = "arr_0", "arr_1"  # as ADM's evaluator names them
DAMAGE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


class DamagedShard(UserError):
    """A shard that is not there, or cannot be used, and why."""

    def __init__(self, reason: str):
        super().__init__(f"{reason}; the sampling command makes it again")
        self.reason = reason


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
    """Images (N, H, W, 3) uint8 and labels (N,) int64 of one block, and what a router decided for each, by name."""

    images: np.ndarray
    labels: np.ndarray
    decisions: Mapping[str, np.ndarray] = field(default_factory=dict)


def blocks(num_images: int, batch_size: int) -> list[Block]:
    """Cut `num_images` into blocks; the last one may be shorter.

    Raises:
        UserError: more than `MOST_BLOCKS`, which no directory should hold.
    """
    if num_images > MOST_BLOCKS * batch_size:
        raise UserError(
            f"num_images={num_images} at batch_size={batch_size} are {-(-num_images // batch_size):,} files, and at "
            f"most {MOST_BLOCKS:,} are made; use a larger batch_size"
        )
    return [Block(start, min(start + batch_size, num_images)) for start in range(0, num_images, batch_size)]


def write_shard(directory: Path, block: Block, shard: Shard, run_id: str) -> None:
    """Write a block's images and labels in the ADM layout (`arr_0`, `arr_1`), atomically.

    The archive's comment names the run and the range; its CRC-32s are the checksums.
    """
    assert len(shard.images) == len(shard.labels) == len(block), "a shard holds exactly its block"
    arrays = {IMAGES: shard.images, LABELS: shard.labels, **shard.decisions}
    shapes = {name: array.shape for name, array in arrays.items()}
    parts = {name: [array] for name, array in arrays.items()}
    write_arrays(directory / block.name, shapes, parts, comment=_comment(block, run_id))


def read_shard(directory: Path, block: Block, run_id: str, image_shape: tuple[int, ...] | None = None) -> Shard:
    """Read a block's shard.

    Args:
        image_shape: (H, W, 3) of each image, where it is known.

    Raises:
        DamagedShard: it is missing, damaged (by its CRC-32), of another run or range, or of another shape or dtype.
    """
    shard = Shard(*_read(directory, block, run_id, IMAGES, LABELS))
    if image_shape is not None and shard.images.shape[1:] != image_shape:
        raise DamagedShard(
            f"shard {directory / block.name} has images of shape {shard.images.shape[1:]}, the run's have {image_shape}"
        )
    return shard


def read_decisions(directory: Path, wanted: Iterable[Block], run_id: str) -> dict[str, np.ndarray]:
    """Read what a router decided for each image of a run, by name (N, ...), and not the images; empty without one.

    Raises:
        DamagedShard: a shard is missing or damaged, or has other decisions than the first one.
    """
    wanted = list(wanted)
    names = _decision_names(directory, wanted[0])
    parts = [_read(directory, block, run_id, *names) for block in wanted]
    return {name: np.concatenate(own) for name, own in zip(names, zip(*parts, strict=True), strict=True)}


def _decision_names(directory: Path, block: Block) -> list[str]:
    path = directory / block.name
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
    except FileNotFoundError as error:
        raise DamagedShard(f"shard {path} is missing") from error
    except DAMAGE as error:
        raise DamagedShard(f"shard {path} is damaged ({error})") from error
    return [name for name in names if name not in (IMAGES, LABELS)]


def read_labels(directory: Path, block: Block, run_id: str) -> np.ndarray:
    """Read the labels of a block's shard, and not its images."""
    return _read(directory, block, run_id, LABELS)[0]


def read_shards(directory: Path, wanted: Iterable[Block], run_id: str) -> Iterator[Shard]:
    """Read shards in order, one at a time."""
    for block in wanted:
        yield read_shard(directory, block, run_id)


def missing_blocks(
    directory: Path,
    wanted: Iterable[Block],
    run_id: str,
    report: Callable[[str], None],
    image_shape: tuple[int, ...] | None = None,
) -> list[Block]:
    """Find the blocks to make. A file in the place of one that cannot be used is reported and set aside.

    Args:
        image_shape: (H, W, 3) of each image, where it is known.
    """
    missing = []
    for block in wanted:
        path = directory / block.name
        if path.exists():
            try:
                read_shard(directory, block, run_id, image_shape)
                continue
            except DamagedShard as error:
                report(f"{error.reason}; set aside as {_set_aside(path)}")
        missing.append(block)
    return missing


def merge_shards(directory: Path, wanted: list[Block], run_id: str, path: Path) -> None:
    """Stream all shards into one `.npz` of the ADM layout: `arr_0` (N, H, W, 3) uint8, `arr_1` (N,) int64, decisions.

    One shard is in memory at a time. Equal shards give equal bytes: the archive holds no times.

    Raises:
        DamagedShard: one cannot be used, or its images have another shape than those of the first.
    """
    num_images = wanted[-1].stop
    names = [IMAGES, LABELS, *_decision_names(directory, wanted[0])]
    firsts = _read(directory, wanted[0], run_id, *names)
    shapes = {name: (num_images, *first.shape[1:]) for name, first in zip(names, firsts, strict=True)}

    def checked_map(block: Block, name: str) -> np.ndarray:
        [array] = _read(directory, block, run_id, name, mapped=True)
        if array.shape[1:] != shapes[name][1:]:
            first_shape = shapes[name][1:]
            raise DamagedShard(
                f"shard {directory / block.name} has images of shape {array.shape[1:]}, the first one {first_shape}"
            )
        return array

    with ThreadPoolExecutor(1) as reader:  # checks the next shard while this one is written

        def parts(name: str) -> Iterator[np.ndarray]:
            pending = reader.submit(checked_map, wanted[0], name)
            for following in [*wanted[1:], None]:
                part = pending.result()
                if following is not None:
                    pending = reader.submit(checked_map, following, name)
                yield part

        write_arrays(path, shapes, {name: parts(name) for name in names}, comment=run_id)


def _read(directory: Path, block: Block, run_id: str, *names: str, mapped: bool = False) -> list[np.ndarray]:
    path = directory / block.name
    try:
        with np.load(path, allow_pickle=False) as file:
            comment = file.zip.comment.decode(errors="replace")
            arrays = [map_array(path, name) if mapped else file[name] for name in names]
    except FileNotFoundError as error:
        raise DamagedShard(f"shard {path} is missing") from error
    except DAMAGE as error:
        raise DamagedShard(f"shard {path} is damaged ({error})") from error
    if comment != _comment(block, run_id):
        raise DamagedShard(f"shard {path} is of another run or range ({comment!r})")
    if any(array.shape[:1] != (len(block),) for array in arrays):
        raise DamagedShard(f"shard {path} holds another number of images than its name says")
    for name, array in zip(names, arrays, strict=True):
        _check_layout(path, name, array)
    return arrays


def _check_layout(path: Path, name: str, array: np.ndarray) -> None:
    """Raise `DamagedShard` unless the array has the dtype and the axes that `Shard` says."""
    if name == IMAGES and (array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3):
        raise DamagedShard(f"shard {path} has images {array.dtype} {array.shape}, want uint8 (N, H, W, 3)")
    if name == LABELS and (array.dtype != np.int64 or array.ndim != 1):
        raise DamagedShard(f"shard {path} has labels {array.dtype} {array.shape}, want int64 (N,)")


def _comment(block: Block, run_id: str) -> str:
    return f"{run_id} {block.start}-{block.stop}"


def _set_aside(path: Path) -> Path:
    aside = path.parent.with_name("set_aside")
    aside.mkdir(exist_ok=True)
    place = next(place for n in count(1) if not (place := aside / f"{path.stem}.{n}.npz").exists())
    return path.rename(place)


def npz_comment(path: Path) -> str | None:
    """Return the run that wrote an `.npz` of ours, or None where the file is missing or damaged."""
    with suppress(*DAMAGE), zipfile.ZipFile(path) as archive:
        return archive.comment.decode()
    return None


def remove_temporaries(directory: Path) -> None:
    """Remove what killed writers left behind. Nobody else may be writing there."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_arrays(path: Path, shapes: dict[str, tuple], arrays: dict[str, Iterable[np.ndarray]], comment: str) -> None:
    """Write arrays, each given in parts along its first axis, uncompressed and without time stamps."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
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
