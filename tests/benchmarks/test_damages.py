"""The features that score Fashion-MNIST, on 1,000 of its test images (100 of each class; MIT licence)."""

import json

import numpy as np
import pytest
import torch

from benchmarks.damages import DAMAGES, RESULTS, ZOO, Pictures, add_noise, average_pairs, blur, erase, measure, scaled
from evaluation.metrics.extractors import FASHION, load_extractor
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    with np.load(ROOT / "tests" / "benchmarks" / "fashion_held_out.npz") as stored:
        return np.pad(stored["images"], ((0, 0), (2, 2), (2, 2))), stored["labels"].astype(np.int64)


@pytest.mark.long
def test_the_distance_rises_with_every_damage(held_out) -> None:
    found = measure(*held_out)
    for name, distances in found["damages"].items():
        values = [found["floor"], *distances.values()]
        assert values == sorted(values), f"{name}: {values}"
        assert values[-1] > 2 * found["floor"], f"{name}: {values}"


def test_the_committed_table_is_of_the_shipped_weights_and_rises() -> None:
    stored = json.loads((RESULTS / "damages.json").read_text())
    card = json.loads((ZOO / "classifier.json").read_text())
    assert stored["extractor_sha256"] == card["sha256"]
    assert stored["floor_of_all"] == pytest.approx(card["held_out_fid"], abs=0.01)
    assert list(stored["damages"]) == list(DAMAGES)
    for name, distances in stored["damages"].items():
        values = [stored["floor"], *distances.values()]
        assert values == sorted(values), f"{name}: {values}"
        assert len(values) == 5


def test_the_classes_of_images_it_has_not_seen(held_out) -> None:
    images, labels = held_out
    extractor = load_extractor(FASHION, ZOO / "classifier.safetensors", torch.device("cpu"))
    logits = extractor(np.repeat(images[..., None], 3, axis=-1)).logits
    assert (logits.argmax(axis=1) == labels).mean() > 0.92


def test_damages_are_what_their_names_say(held_out) -> None:
    images, labels = held_out
    real = Pictures(scaled(images[:50]), torch.from_numpy(labels[:50]))
    assert blur(real, 1.0).var() < real.images.var()
    assert float(blur(real, 1.0).mean()) == pytest.approx(float(real.images.mean()), abs=1e-3)
    assert float((add_noise(real, 0.1) - real.images).std()) == pytest.approx(0.2, rel=0.02)
    erased = erase(Pictures(torch.ones(50, 1, 32, 32), real.labels), 5)
    assert (erased == -1).sum(dim=(1, 2, 3)).tolist() == [25] * 50
    assert torch.allclose(average_pairs(real, 0.2)[1], 0.8 * real.images[1] + 0.2 * real.images[0], atol=1e-6)
