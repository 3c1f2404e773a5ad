"""Peak memory of scoring 50,000 images with Inception on a CPU: `python -m benchmarks.evaluation_memory`.

512 images go through Inception (what it takes does not grow with their number); the features of the others are random
and lie in the cache, as after a killed run. Then every metric of Inception is computed over all 50,000.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import experiments.evaluation
from benchmarks.evaluation import RESULTS, ROOT, peak_mb, random_images
from evaluation.metrics.extractors import Features, load_extractor
from evaluation.metrics.features import FeatureCache, FeatureSet
from evaluation.metrics.reference import make_reference
from evaluation.metrics.sources import open_source
from evaluation.metrics.statistics import statistics
from tests.evaluation.inception import make_inception
from tstitch.runs.machine import device_name
from tstitch.runs.memory import keep_freed_memory
from tstitch.runs.ranks import Ranks

METRICS = ["fid", "sfid", "inception_score", "precision", "recall", "kid"]
LIVE_PARTS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=50_000)
    parser.add_argument("--num-reference", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluation_memory.json")
    parser.add_argument("--worker", choices=["prepare", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker == "prepare":
        prepare(arguments.directory, arguments.num_images, arguments.num_reference)
    elif arguments.worker == "measure":
        keep_freed_memory()  # as the command does
        print(json.dumps(measure(arguments.directory, arguments.num_images)))
    else:
        with TemporaryDirectory() as directory:
            result = _in_processes(directory, arguments)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result, indent=2))


def _in_processes(directory: str, arguments: argparse.Namespace) -> dict:
    """The preparation has a process of its own, so that its memory is not counted."""
    for worker in ("prepare", "measure"):
        sizes = ["--num-images", str(arguments.num_images), "--num-reference", str(arguments.num_reference)]
        command = [sys.executable, "-m", "benchmarks.evaluation_memory", "--worker", worker, "--directory", directory]
        done = subprocess.run([*command, *sizes], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {"num_reference": arguments.num_reference, **json.loads(done.stdout.splitlines()[-1])}


def prepare(directory: Path, num_images: int, num_reference: int) -> None:
    """Images, random Inception weights, a reference, and a cache that holds nearly all features."""
    rng = np.random.default_rng(0)
    np.savez(directory / "samples.npz", random_images(rng, num_images, 64))
    torch.manual_seed(0)
    make_inception(directory / "inception.pth")
    extractor = load_extractor("inception-v3-compat", directory / "inception.pth", torch.device("cpu"))
    source, cache = open_source(directory / "samples.npz"), FeatureCache(directory / "features", extractor)
    for part in source.parts[LIVE_PARTS:]:
        cache.write(part, _random_features(rng, part.num))
    pool = _random_features(rng, num_reference).pool
    spatial = statistics(_random_features(rng, 3000).spatial)
    make_reference(directory / "reference.npz", FeatureSet(pool, None, spatial), extractor.name, {}, keep_features=True)


def measure(directory: Path, num_images: int) -> dict:
    """Peak memory of this process after extraction and after the metrics, in MB."""
    cpu, alone = torch.device("cpu"), Ranks(0, 1, 0, 1)
    experiments.evaluation.CACHE = directory / "features"
    settings = {
        "metrics": METRICS, "bootstrap": 0, "batch_size": 64, "extractor": "inception",
        "extractor_weights": directory / "inception.pth", "reference": directory / "reference.npz",
    }  # fmt: skip
    loaded = peak_mb()
    evaluation, source = experiments.evaluation.load_evaluation(settings, cpu), open_source(directory / "samples.npz")
    started = time.perf_counter()
    evaluation.features(source, alone)
    extracted, seconds = peak_mb(), time.perf_counter() - started
    evaluation.result(source, alone)
    return {
        "num_images": num_images,
        "metrics": METRICS,
        "peak_memory_mb": {"imports": loaded, "after extraction": extracted, "after metrics": peak_mb()},
        "seconds": {"extraction": round(seconds, 1), "metrics": round(time.perf_counter() - started - seconds, 1)},
        "device": device_name(cpu),
    }


def _random_features(rng: np.random.Generator, num: int) -> Features:
    pool, logits, spatial = (rng.normal(size=(num, width)).astype(np.float32) for width in (2048, 1008, 2023))
    return Features(pool, logits, spatial)


if __name__ == "__main__":
    main()
