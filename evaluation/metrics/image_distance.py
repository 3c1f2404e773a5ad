"""Distance of images from those of another run with the same noise."""

import numpy as np

CHUNK = 1024  # images at once


def image_distance(images: np.ndarray, others: np.ndarray) -> float:
    """Return the root mean square difference of two arrays of images (N, H, W, 3) uint8, in levels of 255."""
    return float(np.sqrt(squared_distances(images, others).mean()))


def squared_distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean squared difference (N,) of each image from the other of its row."""
    distances = []
    for start in range(0, len(images), CHUNK):
        own, other = (each[start : start + CHUNK].astype(np.float32) for each in (images, others))
        distances.append(np.square(own - other).mean(axis=(1, 2, 3), dtype=np.float64))
    return np.concatenate(distances)
