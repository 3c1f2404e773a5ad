import numpy as np
import pytest
import torch

from tstitch.errors import UserError
from tstitch.noise import ImageNoise

SHAPE = (4, 8, 8)


def test_an_image_has_the_same_noise_in_any_batch_and_order() -> None:
    together = ImageNoise(3, range(10))
    steps_backwards = {i: together.step(i, SHAPE) for i in (2, 1, 0)}
    latents, labels = together.latents(SHAPE), together.labels(10)
    for index in (0, 7):
        alone = ImageNoise(3, [index])
        assert torch.equal(alone.latents(SHAPE)[0], latents[index])
        assert alone.labels(10)[0] == labels[index]
        assert torch.equal(alone.step(1, SHAPE)[0], steps_backwards[1][index])


def test_seeds_images_steps_and_purposes_are_independent() -> None:
    noise = ImageNoise(0, range(4))
    draws = [noise.latents(SHAPE), noise.step(0, SHAPE), noise.step(1, SHAPE), ImageNoise(1, range(4)).latents(SHAPE)]
    flat = torch.cat([draw.flatten(1) for draw in draws])
    correlation = torch.corrcoef(flat)
    assert (correlation - torch.eye(len(flat))).abs().max() < 0.3


def test_latents_are_standard_normal_and_labels_uniform() -> None:
    noise = ImageNoise(0, range(2000))
    latents = noise.latents(SHAPE)
    assert latents.dtype == torch.float32
    assert abs(latents.mean().item()) < 0.01
    assert latents.std().item() == pytest.approx(1, abs=0.01)
    counts = torch.bincount(noise.labels(10), minlength=10)
    assert counts.min() > 140
    assert counts.max() < 260


def test_first_values_never_change() -> None:
    """A change here would break every resumed run and every paired comparison with older results."""
    noise = ImageNoise(0, [0, 1])
    assert noise.labels(1000).tolist() == GOLDEN_LABELS
    assert noise.latents((2,)).flatten().tolist() == pytest.approx(GOLDEN_LATENTS, abs=1e-6)


GOLDEN_LABELS = [34, 975]
GOLDEN_LATENTS = [1.5053303, 0.5184232, -1.2998049, -0.2862371]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_bad_seed_is_named(seed: int) -> None:
    with pytest.raises(UserError, match=f"got {seed}"):
        ImageNoise(seed, [0])


def test_generators_of_images_are_keyed_as_all_their_draws_are() -> None:
    """The seeds that runs of prompts have had from the beginning: their bytes stay."""
    seeds = [generator.initial_seed() for generator in ImageNoise(7, [0, 5]).generators()]
    assert seeds == [int(np.random.Generator(np.random.Philox(key=[7, i])).integers(2**63)) for i in (0, 5)]
    assert seeds == [generator.initial_seed() for generator in ImageNoise(7, [5, 0]).generators()][::-1]
