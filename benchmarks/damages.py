"""How held-out images move away from the training images with damage: `python -m benchmarks.damages FOLDER`.

The check of Heusel et al. (2017, section 4 and figure 3), for the features that score Fashion-MNIST: seven kinds of
damage, each at four strengths, beside the distance of the same images undamaged, the floor.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.extractors import FASHION, Extractor, load_extractor
from evaluation.metrics.reference import load_reference
from evaluation.metrics.statistics import statistics
from models.autoencoder import AutoencoderSpec, load_autoencoder

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT / "models" / "zoo" / "fashion"
RESULTS = ROOT / "benchmarks" / "results"
BATCH_SIZE = 250


@dataclass(frozen=True)
class Pictures:
    """Images (N, 1, 32, 32) in [-1, 1] with labels (N,)."""

    images: Tensor
    labels: Tensor


def blur(real: Pictures, sigma: float) -> Tensor:
    """Convolve with a Gaussian of deviation `sigma` pixels."""
    return gaussian_blur(real.images, kernel_size=11, sigma=sigma)


def add_noise(real: Pictures, deviation: float) -> Tensor:
    """Add Gaussian noise, its deviation a share of the range from black to white."""
    return real.images + 2 * deviation * torch.randn(real.images.shape, generator=_generator())


def erase(real: Pictures, side: int) -> Tensor:
    """Make a square of `side` pixels black at a random place of the inner 28x28 of each image."""
    corners = torch.randint(2, 31 - side, (2, len(real.images), 1), generator=_generator())
    inside = [(torch.arange(32) >= corner) & (torch.arange(32) < corner + side) for corner in corners]
    square = inside[0][:, :, None] & inside[1][:, None, :]
    return torch.where(square[:, None], -1.0, real.images)


def remove_classes(real: Pictures, num: int) -> Tensor:
    """Leave out the first `num` classes."""
    return real.images[real.labels >= num]


def mix_in(real: Pictures, share: float) -> Tensor:
    """Replace a share of the images by handwritten digits."""
    from training.images import load_images

    images, num = real.images.clone(), round(share * len(real.images))
    chosen = torch.randperm(len(images), generator=_generator())[:num]
    digits = load_images("digits", None).images
    others = np.random.default_rng(0).permutation(len(digits))[:num]
    images[chosen] = scaled(digits[others])
    return images


def average_pairs(real: Pictures, weight: float) -> Tensor:
    """Give every image a share of another one: ghosts."""
    return torch.lerp(real.images, real.images.roll(1, dims=0), weight)


@torch.inference_mode()
def encode_and_decode(real: Pictures, times: int) -> Tensor:
    """Send images through the zoo's autoencoder, again and again."""
    autoencoder = load_autoencoder(AutoencoderSpec(FASHION, "kl", ZOO / "autoencoder"))
    parts = []
    for part in real.images.split(BATCH_SIZE):
        for _ in range(times):
            part = autoencoder.decode(autoencoder.encode(part).latent_dist.mean).sample.clamp(-1, 1)
        parts.append(part)
    return torch.cat(parts)


DAMAGES: dict[str, tuple[Callable[[Pictures, float], Tensor], tuple[float, ...]]] = {
    "blur, deviation in pixels": (blur, (0.4, 0.6, 0.8, 1.2)),
    "noise, share of the range": (add_noise, (0.02, 0.05, 0.1, 0.2)),
    "an erased square, pixels": (erase, (3, 5, 8, 12)),
    "classes left out": (remove_classes, (1, 2, 4, 6)),
    "digits mixed in, share": (mix_in, (0.02, 0.05, 0.1, 0.2)),
    "ghosts of other images, share": (average_pairs, (0.05, 0.1, 0.2, 0.4)),
    "times through the autoencoder": (encode_and_decode, (1, 2, 4, 8)),
}


def measure(images: np.ndarray, labels: np.ndarray) -> dict:
    """Measure the distance of bytes (N, 32, 32) and of their damaged selves from the 60,000 training images."""
    extractor = load_extractor(FASHION, ZOO / "classifier.safetensors", torch.device("cpu"))
    reference = load_reference(ZOO / "reference.npz").pool
    real = Pictures(scaled(images), torch.from_numpy(labels))

    def distance(damaged: Tensor) -> float:
        return frechet_distance(statistics(_features(extractor, damaged)), reference)

    rows = {
        name: {f"{strength:g}": round(distance(damage(real, strength)), 3) for strength in strengths}
        for name, (damage, strengths) in DAMAGES.items()
    }
    return {
        "extractor_sha256": extractor.weights_sha256,
        "num_images": len(images),
        "floor": round(distance(real.images), 3),
        "damages": rows,
    }


def floor(images: np.ndarray) -> float:
    """Measure the distance of undamaged bytes (N, 32, 32) from the training images."""
    extractor = load_extractor(FASHION, ZOO / "classifier.safetensors", torch.device("cpu"))
    return frechet_distance(
        statistics(_features(extractor, scaled(images))), load_reference(ZOO / "reference.npz").pool
    )


def main() -> None:
    from training.images import load_images

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the idx files of Fashion-MNIST")
    parser.add_argument("--num-images", type=int, default=3_000, help="of the 10,000 test images, to damage")
    parser.add_argument("--out", type=Path, default=RESULTS / "damages.json")
    arguments = parser.parse_args()
    images, labels = load_images("fashion", arguments.folder).held_out
    damaged = measure(images[: arguments.num_images], labels[: arguments.num_images])
    text = json.dumps({"floor_of_all": floor(images), **damaged}, indent=2) + "\n"
    arguments.out.write_text(text)
    print(text, end="")


def _features(extractor: Extractor, images: Tensor) -> np.ndarray:
    """Features (N, D) of images in [-1, 1], as the bytes that a sampler would write."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()[:, 0, :, :, None].expand(-1, -1, -1, 3).numpy()
    return np.concatenate([extractor(pixels[i : i + BATCH_SIZE]).pool for i in range(0, len(pixels), BATCH_SIZE)])


def scaled(images: np.ndarray) -> Tensor:
    """Bytes (N, 32, 32) as (N, 1, 32, 32) in [-1, 1]."""
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


if __name__ == "__main__":
    main()
