"""ADM's reference batches: `imagenet256_reference`, `imagenet512_reference`.

Looked up: openai/guided-diffusion, `evaluations/README.md` (statistics of the whole data set, and images for precision
and recall), `evaluations/evaluator.py` (`arr_0`, images as bytes; `mu` and `sigma` of `pool_3`, of length 2,048; `mu_s`
and `sigma_s` of 7 channels of `mixed_6/conv`, 17 by 17 of them, of length 2,023), issue 148 (the published file has
`mu_clip` and `sigma_clip` too), issues 19 and 66 (256: 10,000 images; 512: 1,000).
"""

from pathlib import Path

import numpy as np

POOL, SPATIAL, CLIP = 2048, 7 * 17 * 17, 512
IMAGES = {256: 10_000, 512: 1_000}


def write_reference_batch(path: Path, side: int = 256, num_images: int | None = None, seed: int = 0) -> Path:
    """Write a batch with random statistics and images; `num_images` of them, or as many as were published."""
    generator = np.random.default_rng(seed)
    statistics = {}
    for mu, sigma, length in (("mu", "sigma", POOL), ("mu_s", "sigma_s", SPATIAL), ("mu_clip", "sigma_clip", CLIP)):
        factor = generator.normal(size=(length, 64))
        statistics[mu] = generator.normal(size=length)
        statistics[sigma] = factor @ factor.T / 64 + np.eye(length)
    num = IMAGES[side] if num_images is None else num_images
    images = generator.integers(256, size=(num, side, side, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, arr_0=images, **statistics)
    return path
