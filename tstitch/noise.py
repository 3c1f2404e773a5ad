"""Randomness per image: a counter-based generator keyed by (seed, image index)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tstitch.errors import UserError

LABEL, LATENTS, STEP, UNCONDITIONAL, ROUTING = range(5)
GENERATOR = LABEL  # images of prompts have a generator and no drawn label, those of classes the reverse


class ImageNoise:
    """Label, start latents and step noise of a batch of images.

    Each value is drawn from Philox with the key (seed, image index) and a counter that names what
    is drawn, so it depends on nothing else: not on the batch, the rank, the allocation or the
    order of the draws. Two images never share a stream.
    """

    def __init__(self, seed: int, indices: Sequence[int]):
        if not 0 <= seed < 2**63:
            raise UserError(f"seed must lie in 0..2^63-1, got {seed}")
        self.seed, self.indices = seed, indices

    def labels(self, num_classes: int) -> Tensor:
        """Draw uniform class labels (N,), int64."""
        return torch.tensor([int(g.integers(num_classes)) for g in self._generators(LABEL)])

    def latents(self, shape: Sequence[int]) -> Tensor:
        """Draw the start latents (N, *shape), standard normal float32."""
        return self._normal(LATENTS, 0, shape)

    def step(self, index: int, shape: Sequence[int]) -> Tensor:
        """Draw the noise of solver step `index`, (N, *shape), standard normal float32."""
        return self._normal(STEP, index, shape)

    def unconditional(self, denoiser: int, width: int) -> Tensor:
        """Draw a uniform [0, 1) embedding (N, 1, width), float32, of its own for each denoiser."""
        generators = self._generators(UNCONDITIONAL, denoiser)
        return torch.from_numpy(np.stack([g.random((1, width), dtype=np.float32) for g in generators]))

    def routing(self, router: int, step: int) -> np.ndarray:
        """Draw a uniform number in [0, 1) for each image (N,), float64, of its own for each kind of router and step."""
        keyed = (self._generator(index, [0, router, step, ROUTING]) for index in self.indices)
        return np.array([generator.random() for generator in keyed])

    def generators(self) -> list[torch.Generator]:
        """Seed a generator on the host for each image, for a pipeline that draws its noise itself."""
        seeds = [int(generator.integers(2**63)) for generator in self._generators(GENERATOR)]
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def _normal(self, purpose: int, step: int, shape: Sequence[int]) -> Tensor:
        draws = [g.standard_normal(tuple(shape), dtype=np.float32) for g in self._generators(purpose, step)]
        return torch.from_numpy(np.stack(draws))

    def _generators(self, purpose: int, step: int = 0) -> list[np.random.Generator]:
        return [self._generator(index, [0, 0, step, purpose]) for index in self.indices]

    def _generator(self, index: int, counter: list[int]) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, index], counter=counter))
