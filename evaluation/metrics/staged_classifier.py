"""The network whose features and class probabilities score grey 32x32 images: several stages, pooled."""

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.metrics.digits_classifier import convolutions

WIDTHS = (32, 64, 96, 128)
NUM_EMBEDDED = 64


class StagedClassifier(nn.Module):
    """Features (N, 384) and logits (N, 10) of grey images in [-1, 1], shape (N, 1, 32, 32).

    The features are the spatial means of every stage, from strokes to shapes, and the embedding that the logits are
    computed from: a classifier's last features see what an image shows, and hardly its texture. Each feature is
    divided by its deviation over the training images, so that all count alike in a Frechet distance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(*convolutions(*pair)) for pair in itertools.pairwise((1, *WIDTHS)))
        self.embedding = nn.Sequential(nn.Linear(WIDTHS[-1], NUM_EMBEDDED), nn.GELU())
        self.head = nn.Linear(NUM_EMBEDDED, 10)
        self.register_buffer("deviation", torch.ones(sum(WIDTHS) + NUM_EMBEDDED))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = []
        for stage in self.stages:
            images = stage(images)
            pooled.append(images.mean(dim=(2, 3)))
            images = nn.functional.max_pool2d(images, 2)
        embedded = self.embedding(pooled[-1])
        return torch.cat([*pooled, embedded], dim=1).float() / self.deviation, self.head(embedded)

    @torch.no_grad()
    def standardise(self, features: np.ndarray) -> None:
        """Give each feature the deviation 1 over the images (N) whose features (N, 384) these are."""
        deviation = torch.from_numpy(features.std(axis=0, dtype=np.float64)).to(self.deviation)
        self.deviation *= deviation.clamp(min=1e-12)
