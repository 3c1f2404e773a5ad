import numpy as np
import pytest

from evaluation import manifold
from evaluation.manifold import precision_recall


def clouds(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(150, 6)).astype(np.float32), 1 + 0.7 * rng.normal(size=(120, 6)).astype(np.float32)


def by_definition(samples: np.ndarray, reference: np.ndarray, nearest: int) -> float:
    inside = 0
    for sample in samples:
        for centre in reference:
            radius = sorted(np.linalg.norm(reference - centre, axis=1))[nearest]
            if np.linalg.norm(sample - centre) <= radius:
                inside += 1
                break
    return inside / len(samples)


@pytest.mark.parametrize("nearest", [1, 3, 5])
def test_they_are_what_the_definition_says_in_blocks_of_any_size(monkeypatch, nearest: int) -> None:
    samples, reference = clouds(0)
    wanted = (by_definition(samples, reference, nearest), by_definition(reference, samples, nearest))
    for block in (7, 50, 1000):
        monkeypatch.setattr(manifold, "BLOCK", block)
        # In half precision an image at the very border may change sides.
        assert precision_recall(samples, reference, nearest) == pytest.approx(wanted, abs=0.02)


def test_a_set_covers_itself_and_nothing_far_away() -> None:
    samples, _ = clouds(1)
    assert precision_recall(samples, samples) == (1, 1)
    assert precision_recall(samples, samples + 100) == (0, 0)


def test_distances_that_a_half_cannot_hold_are_taken_in_float32() -> None:
    samples, reference = clouds(2)
    assert precision_recall(1000 * samples, 1000 * reference) == pytest.approx(
        (by_definition(samples, reference, 3), by_definition(reference, samples, 3)), abs=1e-9
    )
