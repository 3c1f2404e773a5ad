"""Distance of images from those of another run with the same noise."""

import numpy as np

CHUNK = 1024  # images at once


def image_distance(images: np.ndarray, others: np.ndarray) -> float:
    """Return the root mean square difference of two arrays of images (N, H, W, 3) uint8, in levels of 255."""
    total = 0.0
    for start in range(0, len(images), CHUNK):
        own, other = (each[start : start + CHUNK].astype(np.float32) for each in (images, others))
        total += float(np.square(own - other).sum(dtype=np.float64))
    return float(np.sqrt(total / images.size))
