"""Latents that denoisers are trained on: in memory, or in the parts that `scripts.encode` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.latents import ARRAYS, PART, LatentsRecord, place_parts, read_record
from training.images import Images, load_images
from tstitch.errors import UserError

Moments = tuple[Tensor, Tensor, Tensor]  # mean and deviation (N, C, h, w) float32, labels (N,) int64


class Latents(Protocol):
    """Mean and deviation of each image's scaled latents, and its label."""

    num_classes: int

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Moments:
        """Take the latents at `indices` (N,) int64, on the device of these."""


@dataclass(frozen=True)
class LatentImages:
    """Latents in memory: mean and deviation (N, C, h, w), and the labels (N,)."""

    mean: Tensor
    std: Tensor
    labels: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.mean)

    def take(self, indices: Tensor) -> Moments:
        return self.mean[indices], self.std[indices], self.labels[indices]


class StoredLatents:
    """Latents of a folder of `scripts.encode`: what is drawn is read. No file stays open: ImageNet has 2,500 of them.

    Raises:
        UserError: the folder holds none, or a part is missing or damaged.
    """

    def __init__(self, folder: Path):
        self.record: LatentsRecord = read_record(folder)
        self.parts = list(place_parts(folder, self.record))
        self.num_classes = self.record.num_classes
        self.source = f"{self.record.num_images:,} images at {self.record.side} pixels, latents {self.record.id}"

    def __len__(self) -> int:
        return self.record.num_latents

    def take(self, indices: Tensor) -> Moments:
        wanted = indices.cpu().numpy()
        drawn = {
            name: np.empty((len(wanted), *self.parts[0][name].shape[1:]), self.parts[0][name].dtype) for name in ARRAYS
        }
        for part in np.unique(wanted // PART):
            rows = np.flatnonzero(wanted // PART == part)
            for name, place in self.parts[part].items():
                drawn[name][rows] = place.open()[wanted[rows] % PART]
        mean, std, labels = (torch.from_numpy(drawn[name]).to(indices.device) for name in ARRAYS)
        return mean.float(), std.float(), labels


def load_data(name: str, folder: Path | None) -> Images | StoredLatents:
    """Load a data set of images, or of `name` latents what `scripts.encode` wrote into a folder."""
    if name != "latents":
        return load_images(name, folder)
    if folder is None:
        raise UserError("images=latents needs images.folder=DIR, which python -m scripts.encode makes")
    return StoredLatents(folder)
