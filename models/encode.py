"""Encode a folder of images to latents: what denoisers of ImageNet's size are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, UnidentifiedImageError

from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.latents import LatentsRecord, claim, place_part, write_part
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import locked
from tstitch.runs.shards import Block

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


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
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
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
    with locked(out) if ranks.is_main else nullcontext():
        if ranks.is_main:
            claim(out, record)
        ranks.wait_for_all()
        _encode_parts(record, paths, labels, out, autoencoder, batch_size, device, ranks)
        ranks.wait_for_all()
    return record


def _encode_parts(
    record: LatentsRecord, paths: Sequence[Path], labels: Sequence[int], out: Path, autoencoder: AutoencoderKL,
    batch_size: int, device: torch.device, ranks: Ranks,
) -> None:  # fmt: skip
    side = record.side
    mine = record.parts[ranks.rank :: ranks.world_size]
    count = Counter("parts", quiet=not ranks.is_main)
    for done, part in enumerate(mine):
        if not _is_sound(out, record, part):
            indices = range(part.start, part.stop)
            batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
            encoded = [_encode(autoencoder, [_pixels(paths, k, side) for k in batch], device) for batch in batches]
            mean, std = (np.concatenate(values) for values in zip(*encoded, strict=True))
            own = np.array([labels[k % len(paths)] for k in indices], dtype=np.int64)
            write_part(out, record, part, {"mean": mean, "std": std, "labels": own})
        count(done + 1, len(mine))


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


def _is_sound(out: Path, record: LatentsRecord, part: Block) -> bool:
    try:
        place_part(out, record, part)
    except UserError:
        return False
    return True
