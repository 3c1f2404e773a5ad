"""The distance of images, against the formula over all of them at once."""

import numpy as np
import pytest

from evaluation.metrics.image_distance import CHUNK, image_distance


@pytest.mark.parametrize("num_images", [1, CHUNK, 2 * CHUNK + 3])
def test_it_is_the_root_mean_square_over_all_bytes(num_images: int) -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, num_images, 2, 2, 3), dtype=np.uint8)
    wanted = np.sqrt(np.square(one.astype(float) - other).mean())
    assert image_distance(one, other) == pytest.approx(wanted, rel=1e-6)
    assert image_distance(one, one) == 0
