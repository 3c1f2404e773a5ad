"""Peak memory of scoring 50,000 images with Inception on a CPU: `python -m benchmarks.evaluation_memory`.

512 images go through Inception (what it takes does not grow with their number); the features of the others are random
and lie in the cache, as after a killed run. Then every metric of Inception is computed over all 50,000.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import scripts.evaluation
from benchmarks.evaluation import RESULTS, peak_mb, random_images
from evaluation.extractors import Features, load_extractor
from evaluation.features import FeatureCache, FeatureSet
from evaluation.reference import make_reference
from evaluation.sources import open_source
from evaluation.statistics import statistics
from scripts.generating import device_name
from tests.evaluation.inception import make_inception
from tstitch.ranks import Ranks

METRICS = ["fid", "sfid", "inception_score", "precision", "recall", "kid"]
LIVE_PARTS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=50_000)
    parser.add_argument("--num-reference", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluation_memory.json")
    arguments = parser.parse_args()
    with TemporaryDirectory() as directory:
        result = measure(Path(directory), arguments.num_images, arguments.num_reference)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(directory: Path, num_images: int, num_reference: int) -> dict:
    """Peak memory of the process after extraction and after the metrics, in MB."""
    rng, cpu, alone = np.random.default_rng(0), torch.device("cpu"), Ranks(0, 1, 0, 1)
    np.savez(directory / "samples.npz", random_images(rng, num_images, 64))
    torch.manual_seed(0)
    make_inception(directory / "inception.pth")
    extractor = load_extractor("inception-v3-compat", directory / "inception.pth", cpu)
    scripts.evaluation.CACHE = directory / "features"
    source, cache = open_source(directory / "samples.npz"), FeatureCache(directory / "features", extractor)
    for part in source.parts[LIVE_PARTS:]:
        cache.write(part, _random_features(rng, part.num))
    pool = _random_features(rng, num_reference).pool
    spatial = statistics(_random_features(rng, 3000).spatial)
    make_reference(directory / "reference.npz", FeatureSet(pool, None, spatial), extractor.name, {}, keep_features=True)
    before = peak_mb()
    settings = {
        "metrics": METRICS, "bootstrap": 0, "batch_size": 64, "extractor": "inception",
        "extractor_weights": directory / "inception.pth", "reference": directory / "reference.npz",
    }  # fmt: skip
    evaluation = scripts.evaluation.load_evaluation(settings, cpu)
    started = time.perf_counter()
    evaluation.features(source, alone)
    extracted, seconds = peak_mb(), time.perf_counter() - started
    evaluation.result(source, alone)
    return {
        "num_images": num_images,
        "num_reference": num_reference,
        "metrics": METRICS,
        "peak_memory_mb": {"before": before, "after extraction": extracted, "after metrics": peak_mb()},
        "seconds": {
            "extraction of 512": round(seconds, 1),
            "metrics": round(time.perf_counter() - started - seconds, 1),
        },
        "device": device_name(cpu),
    }


def _random_features(rng: np.random.Generator, num: int) -> Features:
    pool, logits, spatial = (rng.normal(size=(num, width)).astype(np.float32) for width in (2048, 1008, 2023))
    return Features(pool, logits, spatial)


if __name__ == "__main__":
    main()
