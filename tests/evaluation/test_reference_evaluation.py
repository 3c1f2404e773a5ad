"""The ADM evaluator's own numbers on given activations."""

import json

import pytest
from safetensors.numpy import load_file

from evaluation.metrics.distances import frechet_distance, inception_score_of_probabilities
from evaluation.metrics.manifold import precision_recall
from evaluation.metrics.statistics import StatisticsAccumulator
from tests.conftest import reference_dir

pytestmark = pytest.mark.reference


@pytest.mark.parametrize(("metric", "features"), [("fid", "pool"), ("sfid", "spatial")])
def test_frechet_distances_equal_the_adm_evaluator(metric: str, features: str) -> None:
    wanted = json.loads((reference_dir() / "evaluation.json").read_text())["metrics"][metric]
    tensors = load_file(reference_dir() / "evaluation.safetensors")
    statistics = []
    for name in ("reference", "sample"):
        accumulator = StatisticsAccumulator()
        values = tensors[f"{name}.{features}"]
        accumulator.update(values.reshape(len(values), -1))
        statistics.append(accumulator.finish())
    assert frechet_distance(*statistics) == pytest.approx(wanted, rel=1e-4)


def test_inception_score_equals_the_adm_evaluator() -> None:
    metrics = json.loads((reference_dir() / "evaluation.json").read_text())["metrics"]
    probabilities = load_file(reference_dir() / "evaluation.safetensors")["sample.probabilities"]
    splits = {name: value for name, value in metrics.items() if name.startswith("inception_score_split_")}
    assert splits
    for name, wanted in splits.items():
        ours = inception_score_of_probabilities(probabilities, int(name.rpartition("_")[2]))
        assert ours == pytest.approx(wanted, rel=1e-5)


def test_precision_and_recall_are_within_two_images_of_the_adm_evaluator() -> None:
    """It takes distances in half precision; ours are in float32."""
    description = json.loads((reference_dir() / "evaluation.json").read_text())
    tensors = load_file(reference_dir() / "evaluation.safetensors")
    sample, reference = tensors["sample.pool"], tensors["reference.pool"]
    precision, recall = precision_recall(sample, reference, description["k_nearest"])
    assert abs(precision - description["metrics"]["precision"]) * len(sample) <= 2.01
    assert abs(recall - description["metrics"]["recall"]) * len(reference) <= 2.01
