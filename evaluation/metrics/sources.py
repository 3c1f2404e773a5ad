"""Sources of images: a run's shards, an `.npz` of the ADM layout, or a folder of PNGs. Each is read in parts."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.metrics.archive import array_names, read_array, stored_array
from evaluation.metrics.pictures import check_alike, read_header, read_png
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.run import Run, load_run
from tstitch.runs.shards import IMAGES, LABELS, Block, read_labels, read_shard

PART = 256  # images in a part of a file or a folder


@dataclass(frozen=True)
class Part:
    """Some images: `load` gives them as bytes (N, H, W, 3), `key` is a checksum of what they are read from."""

    num: int
    key: str
    load: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A set of images in parts, with their labels (N,) where they are known, and the place they came from."""

    path: Path
    parts: Sequence[Part]
    side: tuple[int, int]
    labels: np.ndarray | None
    run: Run | None = None

    @property
    def num(self) -> int:
        return sum(part.num for part in self.parts)


def open_source(path: Path) -> Source:
    """Open a run's directory, an `.npz` with `arr_0`, or a folder of PNGs; images are read later, part by part.

    Raises:
        UserError: there is nothing of the kind, fewer than two images, images that are not (H, W, 3) bytes, or a
            damaged file.
    """
    if path.is_dir():
        source = _open_run(path) if (path / "run.json").is_file() else _open_folder(path)
    elif path.is_file():
        source = _open_npz(path)
    else:
        raise UserError(f"{path} does not exist; give a run's directory, an .npz with arr_0, or a folder of PNGs")
    if source.num < 2:
        raise UserError(f"{path} holds {source.num} image{'s' * (source.num == 0)}; statistics need at least 2")
    return source


def _open_run(path: Path) -> Source:
    run = load_run(path)
    labels = [read_labels(run.shards, block, run.id) for block in run.blocks]
    image_shape = read_shard(run.shards, run.blocks[0], run.id).images.shape[1:]

    def part(block: Block) -> Part:
        def load() -> np.ndarray:
            return read_shard(run.shards, block, run.id, image_shape).images

        return Part(len(block), file_sha256(run.shards / block.name), load)

    return Source(path, [part(block) for block in run.blocks], image_shape[:2], np.concatenate(labels), run)


def _open_npz(path: Path) -> Source:
    images = stored_array(path, IMAGES)
    if images.dtype != np.uint8:
        raise UserError(f"{path}: {IMAGES} is {images.dtype}; images must be bytes (uint8), 0..255")
    if len(images.shape) != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
        raise UserError(f"{path}: {IMAGES} has shape {images.shape}; images must be (N, H, W, 3)")
    num_images = images.shape[0]
    labels = read_array(path, LABELS) if LABELS in array_names(path) else None
    if labels is not None and labels.shape != (num_images,):
        raise UserError(f"{path}: {LABELS} has shape {labels.shape}; want a label for each of {num_images} images")
    if labels is not None and labels.dtype.kind not in "iu":
        raise UserError(f"{path}: {LABELS} is {labels.dtype}; labels must be whole numbers")

    def part(start: int, digest: str) -> Part:
        stop = min(start + PART, num_images)

        def load() -> np.ndarray:
            rows = images.rows(start, stop)
            if not images.layout.fortran_order and hashlib.sha256(rows).hexdigest() != digest:
                raise UserError(f"{path} changed while it was read; run the command again")
            return rows

        # The shape belongs to the key: the same bytes make other images of another height and width.
        return Part(stop - start, f"{digest}-{'x'.join(map(str, images.shape))}-{start}", load)

    starts = range(0, num_images, PART)
    parts = [part(start, digest) for start, digest in zip(starts, images.part_digests(PART), strict=True)]
    return Source(path, parts, images.shape[1:3], labels)


def _open_folder(path: Path) -> Source:
    files = sorted(path.glob("*.png"))
    if not files:
        other = sorted({file.suffix.lower() for file in path.iterdir() if file.suffix})
        raise UserError(f"{path} holds no run and no .png files{f' but {other}' if other else ''}; JPEG loses detail")
    first = read_header(files[0])
    for file in files[1:]:
        check_alike(first, read_header(file))

    def part(chunk: list[Path]) -> Part:
        digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in chunk))
        return Part(len(chunk), digest.hexdigest(), lambda: np.stack([read_png(file, first) for file in chunk]))

    parts = [part(files[start : start + PART]) for start in range(0, len(files), PART)]
    return Source(path, parts, (first.height, first.width), None)
