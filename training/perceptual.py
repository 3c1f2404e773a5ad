"""How far decoded images are from the originals in the maps of a frozen network (Johnson et al. 2016)."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.metrics.digits_classifier import DigitsClassifier
from models.weights.read import load_weights


class PerceptualDistance:
    """Mean absolute difference of the maps of each stage of the digits' classifier, times a weight.

    A pixel-wise error alone is least for a blurred image where the latents do not tell a texture; the maps of a
    convolutional network tell blur from texture. The network is not the one that scores the decoded images.
    """

    def __init__(self, weights: Path, weight: float, device: torch.device):
        classifier = DigitsClassifier()
        load_weights(classifier, weights)
        self.layers = classifier.eval().requires_grad_(False).to(device).stages
        self.weight = weight

    def __call__(self, images: Tensor, decoded: Tensor) -> Tensor:
        """Compute the scalar distance of images (N, 1, 32, 32) in [-1, 1] from their decoded selves."""
        with torch.no_grad():
            wanted = self._maps(images)
        pairs = zip(self._maps(decoded), wanted, strict=True)
        return self.weight * torch.stack([F.l1_loss(own.float(), other.float()) for own, other in pairs]).mean()

    def _maps(self, images: Tensor) -> list[Tensor]:
        """The maps of every stage, before the pooling that ends it."""
        maps = []
        for layer in self.layers:
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                return maps
            if isinstance(layer, nn.MaxPool2d):
                maps.append(images)
            images = layer(images)
        raise AssertionError("the classifier pools its last maps")
