"""How much the images of one class differ among themselves."""

import numpy as np


def class_diversity(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the root mean square distance between the features (N, D) of two images of one class (labels: N).

    Twice the trace of the covariance within classes, pooled; NaN where no class has two images.
    """
    total, degrees = 0.0, 0
    for label in np.unique(labels):
        own = features[labels == label].astype(np.float64)
        total += np.square(own - own.mean(axis=0)).sum()
        degrees += len(own) - 1
    return float(np.sqrt(2 * total / degrees)) if degrees else float("nan")
