"""The small convolutional classifier whose features and class probabilities score the digits."""

import itertools

from torch import Tensor, nn

NUM_FEATURES = 64


class DigitsClassifier(nn.Module):
    """Features (N, 64) and logits (N, 10) of grey 32x32 digits in [-1, 1], shape (N, 1, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.stages = nn.Sequential(
            *(layer for pair in itertools.pairwise(widths) for layer in (*convolutions(*pair), nn.MaxPool2d(2))),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], NUM_FEATURES),
            nn.GELU(),
        )
        self.head = nn.Linear(NUM_FEATURES, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stages(images)
        return features, self.head(features)


def convolutions(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Make the layers of a stage, before its pooling."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
    ]
