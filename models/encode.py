"""Latents of a folder of images, in parts on disk: what denoisers of ImageNet's size are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from models.autoencoder import AutoencoderSpec, load_autoencoder
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks
from tstitch.runs.shards import DAMAGE, map_array, npz_comment, remove_temporaries, write_arrays

RECORD, PARTS = "latents.json", "parts"
PART = 1024  # images in a file
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
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
    def parts(self) -> list[range]:
        """The latents of each part, which does not depend on the number of ranks."""
        return [range(start, min(start + PART, self.num_latents)) for start in range(0, self.num_latents, PART)]


def list_images(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """List the images of a folder with one subfolder for each class, as ImageNet's `train` is, in order.

    Returns:
        The paths, the label of each, and the names of the classes; a label is the place of a name among the sorted.

    Raises:
        UserError: there is no such folder, or no image in a subfolder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one with a subfolder of images for each class")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths, labels = [], []
    for label, name in enumerate(classes):
        own = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not own:
            raise UserError(f"{folder / name} holds no images ({', '.join(SUFFIXES)}); each class has a subfolder")
        paths += own
        labels += [label] * len(own)
    if not paths:
        raise UserError(f"{folder} has no subfolders; give one with a subfolder of images for each class")
    return paths, labels, classes


def read_square(path: Path, side: int) -> np.ndarray:
    """Read an image as bytes (side, side, 3): halved while it is twice as large, resized, its middle cut out.

    This is how ADM and DiT prepare ImageNet (Dhariwal & Nichol 2021): box filter, then bicubic.

    Raises:
        UserError: the file is no image, or a damaged one.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from error
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image)[top : top + side, left : left + side]


def encode_folder(
    folder: Path, out: Path, spec: AutoencoderSpec, side: int, flips: bool, batch_size: int, device: torch.device,
    ranks: Ranks,
) -> LatentsRecord:  # fmt: skip
    """Encode all images of a folder; what is on disk already and sound is kept. All ranks call this.

    Args:
        side: of the square that is cut out of each image.
        flips: encode each image mirrored as well.

    Raises:
        UserError: an image that cannot be read, a side that the autoencoder cannot take, or a directory that holds
            something else.
    """
    if side % spec.downsampling:
        raise UserError(f"--side must be a multiple of {spec.downsampling}, got {side}")
    paths, labels, classes = list_images(folder)
    autoencoder = load_autoencoder(spec).to(device)
    names = "\n".join(str(path.relative_to(folder)) for path in paths)
    channels, inner = autoencoder.config.latent_channels, side // spec.downsampling
    record = LatentsRecord(
        len(paths), len(classes), side, flips, sha256(names.encode()).hexdigest(), file_sha256(spec.weights),
        float(autoencoder.config.scaling_factor), [channels, inner, inner],
    )  # fmt: skip
    if ranks.is_main:
        _claim(out, record)
    ranks.wait_for_all()
    mine = record.parts[ranks.rank :: ranks.world_size]
    count = Counter("parts", quiet=not ranks.is_main)
    for done, part in enumerate(mine):
        if not _is_sound(out, part, record):
            batches = [part[start : start + batch_size] for start in range(0, len(part), batch_size)]
            encoded = [_encode(autoencoder, [_pixels(paths, k, side) for k in batch], device) for batch in batches]
            mean, std = (np.concatenate(values) for values in zip(*encoded, strict=True))
            _write(out, part, record, mean, std, np.array([labels[k % len(paths)] for k in part]))
        count(done + 1, len(mine))
    ranks.wait_for_all()
    return record


def read_record(folder: Path) -> LatentsRecord:
    """Read what a folder of latents was made from; `UserError` where it holds none."""
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} holds no {RECORD}; python -m scripts.encode makes such a folder of images")
    try:
        return LatentsRecord(**read_json(folder / RECORD))
    except TypeError as error:
        raise UserError(f"{folder / RECORD} is no record of latents: {error}") from error


def open_parts(folder: Path, record: LatentsRecord) -> Iterator[dict[str, np.ndarray]]:
    """Open the parts in order, each array mapped from its file; `UserError` where one is missing or damaged."""
    for part in record.parts:
        path = _part_path(folder, part)
        if npz_comment(path) != _comment(record, part):
            raise UserError(f"{path} is missing, damaged or of other images; the command that encodes makes it again")
        try:
            yield {name: map_array(path, name) for name in ARRAYS}
        except DAMAGE as error:
            raise UserError(f"{path} is damaged ({error}); the command that encodes makes it again") from error


def _claim(out: Path, record: LatentsRecord) -> None:
    if (out / RECORD).is_file():
        if read_record(out) != record:
            raise UserError(f"{out} holds latents of other images or of another autoencoder; give another directory")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no latents; give another directory")
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, asdict(record))
    remove_temporaries(out / PARTS)


def _pixels(paths: Sequence[Path], index: int, side: int) -> np.ndarray:
    """The image of a latent's index: mirrored beyond the number of images."""
    pixels = read_square(paths[index % len(paths)], side)
    return pixels if index < len(paths) else pixels[:, ::-1]


@torch.inference_mode()
def _encode(autoencoder: object, images: list[np.ndarray], device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    if autoencoder.config.in_channels == 1:
        pixels = pixels.mean(dim=1, keepdim=True)
    posterior = autoencoder.encode(pixels).latent_dist
    factor = autoencoder.config.scaling_factor
    return tuple((values * factor).half().cpu().numpy() for values in (posterior.mean, posterior.std))


def _write(
    out: Path, part: range, record: LatentsRecord, mean: np.ndarray, std: np.ndarray, labels: np.ndarray
) -> None:
    arrays = dict(zip(ARRAYS, (mean, std, labels.astype(np.int64)), strict=True))
    shapes = {name: array.shape for name, array in arrays.items()}
    write_arrays(
        _part_path(out, part), shapes, {name: [a] for name, a in arrays.items()}, comment=_comment(record, part)
    )


def _is_sound(out: Path, part: range, record: LatentsRecord) -> bool:
    path = _part_path(out, part)
    if npz_comment(path) != _comment(record, part):
        return False
    try:
        for name in ARRAYS:
            map_array(path, name)
    except DAMAGE:
        return False
    return True


def _part_path(out: Path, part: range) -> Path:
    return out / PARTS / f"{part.start:08d}-{part.stop:08d}.npz"


def _comment(record: LatentsRecord, part: range) -> str:
    return f"{record.id} {part.start}-{part.stop}"
