import numpy as np
import pytest

from evaluation.metrics import manifold
from evaluation.metrics.halves import halves_spread, score_halves
from evaluation.metrics.manifold import ReferenceManifold, precision_recall
from tstitch.errors import UserError


def clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(150, 6)).astype(np.float32), 1 + 0.7 * rng.normal(size=(120, 6)).astype(np.float32)


def by_definition(samples: np.ndarray, reference: np.ndarray, nearest: int) -> float:
    """In float64, one pair after the other."""
    samples, reference = samples.astype(np.float64), reference.astype(np.float64)
    radii = [np.sort(np.linalg.norm(reference - centre, axis=1))[nearest] for centre in reference]
    return float(np.mean([(np.linalg.norm(reference - sample, axis=1) <= radii).any() for sample in samples]))


def both(samples: np.ndarray, reference: np.ndarray, nearest: int = 3) -> tuple[float, float]:
    return by_definition(samples, reference, nearest), by_definition(reference, samples, nearest)


@pytest.mark.parametrize("nearest", [1, 3, 5])
@pytest.mark.parametrize(("block", "columns"), [(7, 4096), (50, 33), (1000, 4096), (64, 1)])
def test_they_are_what_the_definition_says_in_blocks_of_any_size(monkeypatch, nearest, block, columns) -> None:
    samples, reference = clouds(0)
    monkeypatch.setattr(manifold, "BLOCK", block)
    monkeypatch.setattr(manifold, "COLUMNS", columns)
    assert precision_recall(samples, reference, nearest) == both(samples, reference, nearest)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (300, 1), (0, 1000), (0, 1e-3)])
def test_neither_the_origin_nor_the_scale_matters(seed: int, offset: float, scale: float) -> None:
    """Half precision is wrong by several images in each of these."""
    samples, reference = (scale * (features + np.float32(offset)) for features in clouds(seed))
    assert precision_recall(samples, reference) == both(samples, reference)


def test_a_set_covers_itself_and_nothing_far_away() -> None:
    samples, _ = clouds(1)
    assert precision_recall(samples, samples) == (1, 1)
    assert precision_recall(samples, samples + 100) == (0, 0)


def test_duplicates_are_at_distance_zero() -> None:
    """Balls of radius 0 hold the image itself, far from the origin too, and nothing close by."""
    rng = np.random.default_rng(3)
    reference = np.repeat(100 + rng.normal(size=(20, 32)).astype(np.float32), 4, axis=0)
    assert precision_recall(reference[::4].copy(), reference)[0] == 1
    assert precision_recall(reference[::4] + np.float32(1e-3), reference)[0] == 0


def test_close_vectors_keep_their_order() -> None:
    """Tight clusters far apart: within one, products of long vectors would decide by rounding."""
    rng = np.random.default_rng(4)
    centres = 1000 * rng.normal(size=(6, 16))
    samples, reference = (
        np.concatenate([centre + scale * rng.normal(size=(20, 16)) for centre in centres]).astype(np.float32)
        for scale in (0.02, 0.01)
    )
    assert precision_recall(samples, reference) == both(samples, reference)


def test_too_few_images_are_refused() -> None:
    samples, reference = clouds(0)
    with pytest.raises(UserError, match="need more than 3 images in each set, got 3"):
        precision_recall(samples[:3], reference)


@pytest.mark.parametrize("nearest", [1, 3])
def test_of_any_part_of_a_set_they_are_what_the_definition_says(nearest: int) -> None:
    samples, reference = clouds(0)
    own = ReferenceManifold(reference, nearest).of(samples)
    for rows in (np.arange(150), np.arange(0, 150, 2), np.arange(40)):
        assert (own.precision(rows), own.recall(rows)) == pytest.approx(
            both(samples[rows], reference, nearest), abs=1e-7
        )
    with pytest.raises(UserError, match="more than 3 images"):
        ReferenceManifold(reference).of(samples[:3])


def test_their_deviation_is_that_of_fresh_sets() -> None:
    """Of 60 fresh sets, against what random halves of each say; recall depends on all images of a set together."""
    rng = np.random.default_rng(5)
    manifold_of = ReferenceManifold(rng.normal(size=(300, 4)).astype(np.float32))
    spreads = {"precision": [], "recall": []}
    for _ in range(60):
        own = manifold_of.of(rng.normal(size=(200, 4)).astype(np.float32))
        for name, scores in spreads.items():
            scores.append(halves_spread([score_halves(getattr(own, name), 200)]).spread(0))
    for name, each in spreads.items():
        fresh = np.std([spread.value for spread in each])
        assert np.mean([spread.std for spread in each]) == pytest.approx(fresh, rel=0.35), name
