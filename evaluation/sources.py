"""Where images come from: a run's shards, an `.npz` of the ADM layout, or a folder of PNGs. Each is read in parts."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tstitch.digest import file_sha256
from tstitch.errors import UserError
from tstitch.run import Run, load_run
from tstitch.shards import IMAGES, LABELS, Block, map_member, read_labels, read_shard

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
        UserError: there is nothing of the kind, fewer than two images, or images that are not (H, W, 3) bytes.
    """
    if path.is_dir():
        source = _open_run(path) if (path / "run.json").is_file() else _open_folder(path)
    elif path.is_file():
        source = _open_npz(path)
    else:
        raise UserError(f"{path} does not exist; give a run's directory, an .npz with arr_0, or a folder of PNGs")
    if source.num < 2:
        raise UserError(f"{path} holds {source.num} image; statistics need at least 2")
    return source


def _open_run(path: Path) -> Source:
    run = load_run(path)
    labels = [read_labels(run.shards, block, run.id) for block in run.blocks]
    side = read_shard(run.shards, run.blocks[0], run.id).images.shape[1:3]

    def part(block: Block) -> Part:
        return Part(
            len(block), file_sha256(run.shards / block.name), lambda: read_shard(run.shards, block, run.id).images
        )

    return Source(path, [part(block) for block in run.blocks], side, np.concatenate(labels), run)


def _open_npz(path: Path) -> Source:
    try:
        with np.load(path, allow_pickle=False) as file:
            if IMAGES not in file.files:
                raise UserError(f"{path} has no array {IMAGES!r}; it has {', '.join(file.files)}")
            checksum = file.zip.getinfo(f"{IMAGES}.npy").CRC
            labels = file[LABELS] if LABELS in file.files else None
        images = map_member(path, IMAGES)
    except (ValueError, EOFError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    if images.dtype != np.uint8:
        raise UserError(f"{path}: {IMAGES} is {images.dtype}; images must be bytes (uint8), 0..255")
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(f"{path}: {IMAGES} has shape {images.shape}; images must be (N, H, W, 3)")

    def part(start: int) -> Part:
        num = min(PART, len(images) - start)

        def load() -> np.ndarray:
            # A map of its own, so that what was read leaves this process's memory with it.
            return np.array(map_member(path, IMAGES)[start : start + num])

        return Part(num, f"{checksum:08x}-{len(images)}-{start}-{num}", load)

    parts = [part(start) for start in range(0, len(images), PART)]
    return Source(path, parts, images.shape[1:3], labels)


def _open_folder(path: Path) -> Source:
    files = sorted(path.glob("*.png"))
    if not files:
        other = sorted({file.suffix.lower() for file in path.iterdir() if file.suffix})
        raise UserError(f"{path} holds no run and no .png files{f' but {other}' if other else ''}; JPEG loses detail")
    with Image.open(files[0]) as first:
        width, height = first.size

    def load(chunk: list[Path]) -> np.ndarray:
        images = []
        for file in chunk:
            with Image.open(file) as image:
                if image.size != (width, height) or image.mode not in ("RGB", "L"):
                    raise UserError(
                        f"{file} is {image.mode} {image.size}; want RGB or L {(width, height)} like the first"
                    )
                images.append(np.asarray(image.convert("RGB")))
        return np.stack(images)

    def part(chunk: list[Path]) -> Part:
        digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in chunk))
        return Part(len(chunk), digest.hexdigest(), lambda: load(chunk))

    parts = [part(files[start : start + PART]) for start in range(0, len(files), PART)]
    return Source(path, parts, (height, width), None)
