"""Latents of images in parts on disk: what `scripts.encode` writes and the trainer reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.mapped_arrays import ArrayPlace, place_array
from tstitch.runs.shards import (
    DAMAGE,
    Block,
    blocks,
    npz_comment,
    remove_temporaries,
    write_arrays,
)

RECORD, PARTS = "latents.json", "parts"
PART = 1024  # latents in a file
ARRAYS = ("mean", "std", "labels")


@dataclass(frozen=True)
class LatentsRecord:
    """The source of a folder of latents; the parts name its checksum.

    Attributes:
        num_images: of the source; with `flips` each has two latents, and the second half of all is mirrored.
        files_sha256: of the images' paths below the source, in order.
        scaling_factor: that the latents are multiplied by already.
    """

    num_images: int
    num_classes: int
    side: int
    flips: bool
    files_sha256: str
    autoencoder_sha256: str
    scaling_factor: float
    latent_shape: list[int]

    @property
    def id(self) -> str:
        return sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:12]

    @property
    def num_latents(self) -> int:
        return self.num_images * (2 if self.flips else 1)

    @property
    def parts(self) -> list[Block]:
        """The latents of each part, which does not depend on the number of ranks."""
        return blocks(self.num_latents, PART)


def read_record(folder: Path) -> LatentsRecord:
    """Read what a folder of latents was made from; `UserError` where it holds none."""
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} holds no {RECORD}; python -m scripts.encode makes such a folder of images")
    try:
        return LatentsRecord(**read_json(folder / RECORD))
    except TypeError as error:
        raise UserError(f"{folder / RECORD} is no record of latents: {error}") from error


def claim(out: Path, record: LatentsRecord) -> None:
    """Make a folder the one of a record; `UserError` where it holds something else."""
    if (out / RECORD).is_file():
        if read_record(out) != record:
            raise UserError(f"{out} holds latents of other images or of another autoencoder; give another directory")
    elif out.is_dir() and any(path.name[0] != "." for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no latents; give another directory")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, asdict(record))
    (out / PARTS).mkdir(exist_ok=True)
    remove_temporaries(out / PARTS)


def place_parts(folder: Path, record: LatentsRecord) -> Iterator[dict[str, ArrayPlace]]:
    """Find the arrays of the parts in order; `UserError` where one is missing or damaged."""
    for part in record.parts:
        yield place_part(folder, record, part)


def place_part(folder: Path, record: LatentsRecord, part: Block) -> dict[str, ArrayPlace]:
    """Find the arrays of a part; `UserError` where it is missing or damaged."""
    path = folder / PARTS / part.name
    if npz_comment(path) != _comment(record, part):
        raise UserError(f"{path} is missing, damaged or of other images; the command that encodes makes it again")
    try:
        return {name: place_array(path, name) for name in ARRAYS}
    except DAMAGE as error:
        raise UserError(f"{path} is damaged ({error}); the command that encodes makes it again") from error


def write_part(folder: Path, record: LatentsRecord, part: Block, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of `ARRAYS` of a part."""
    shapes = {name: arrays[name].shape for name in ARRAYS}
    content = {name: [arrays[name]] for name in ARRAYS}
    write_arrays(folder / PARTS / part.name, shapes, content, comment=_comment(record, part))


def _comment(record: LatentsRecord, part: Block) -> str:
    return f"{record.id} {part.start}-{part.stop}"
