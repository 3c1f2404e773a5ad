"""Time and peak memory of our evaluation beside torch-fidelity's: `python -m benchmarks.evaluation`.

FID, Inception Score and KID of random images with Inception of random weights; each side in a process of its own,
ours, theirs, ours, theirs where `--repeats 2`. How far their metrics lie apart stands in the result.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NUM_REAL = 500  # fewer than features: torch-fidelity's FID is less exact there, the tests compare where it is not


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluation.json")
    parser.add_argument("--worker", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        print(json.dumps({"ours": measure_ours, "theirs": measure_theirs}[arguments.worker](arguments.directory)))
        return
    with TemporaryDirectory() as directory:
        result = measure(Path(directory), arguments.num_images, arguments.side, arguments.repeats)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(directory: Path, num_images: int, side: int, repeats: int) -> dict:
    """Both sides on the same images, alternating."""
    import torch

    from tests.evaluation.inception import make_inception
    from tstitch.runs.machine import device_name

    rng = np.random.default_rng(0)
    for name, num in (("samples", num_images), ("real", NUM_REAL)):
        np.savez(directory / f"{name}.npz", random_images(rng, num, side))
    torch.manual_seed(0)
    make_inception(directory / "inception.pth")
    runs: dict[str, list[dict]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for side_name, own in runs.items():
            command = [sys.executable, "-m", "benchmarks.evaluation", "--worker", side_name, "--directory", directory]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            own.append(json.loads(done.stdout.splitlines()[-1]))
    differences = {
        name: abs(runs["theirs"][0]["metrics"][name] / value - 1) for name, value in runs["ours"][0]["metrics"].items()
    }
    ours, theirs = (min(run["seconds"] for run in runs[name]) for name in ("ours", "theirs"))
    return {
        "num_images": num_images, "side": side, **runs, "ours_over_theirs_seconds": round(ours / theirs, 3),
        "relative_differences": differences,
        "device": device_name(torch.device("cpu")),
    }  # fmt: skip


def random_images(rng: np.random.Generator, num: int, side: int) -> np.ndarray:
    """Blocks of 8 pixels in random colours (N, side, side, 3): unlike white noise, no two look the same."""
    coarse = rng.integers(256, size=(num, side // 8, side // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def measure_ours(directory: Path) -> dict:
    """FID, Inception Score and KID by our evaluation."""
    import torch

    import experiments.evaluation
    from evaluation.metrics.extractors import load_extractor
    from evaluation.metrics.features import FeatureCache, gather_features
    from evaluation.metrics.reference import make_reference
    from evaluation.metrics.sources import open_source
    from tstitch.runs.ranks import Ranks

    os.chdir(directory)
    experiments.evaluation.CACHE = directory / "features"
    alone, cpu, weights = Ranks(0, 1, 0, 1), torch.device("cpu"), directory / "inception.pth"
    started = time.perf_counter()
    extractor = load_extractor("inception-v3-compat", weights, cpu)
    cache = FeatureCache(directory / "features", extractor)
    real = gather_features(open_source(directory / "real.npz"), extractor, cache, alone)
    make_reference(directory / "reference.npz", real, extractor.name, {}, keep_features=True)
    settings = {
        "metrics": ["fid", "inception_score_ten_splits", "kid"], "bootstrap": 0, "batch_size": 64,
        "extractor": "inception", "extractor_weights": weights, "reference": directory / "reference.npz",
    }  # fmt: skip
    evaluation = experiments.evaluation.load_evaluation(settings, cpu)
    metrics = evaluation.result(open_source(directory / "samples.npz"), alone)["metrics"]
    values = {name.rstrip("0123456789k"): value for name, value in metrics.items() if not name.endswith("std")}
    return {
        "seconds": time.perf_counter() - started,
        "peak_memory_mb": peak_mb(),
        "metrics": {"fid": values["fid"], "is": values["inception_score_ten_splits"], "kid": values["kid"]},
    }


def measure_theirs(directory: Path) -> dict:
    """The same by torch-fidelity."""
    import torch_fidelity

    from tests.experiments.test_evaluation import Bytes

    samples, real = (np.load(directory / f"{name}.npz")["arr_0"] for name in ("samples", "real"))
    started = time.perf_counter()
    metrics = torch_fidelity.calculate_metrics(
        input1=Bytes(samples), input2=Bytes(real), feature_extractor="inception-v3-compat", isc=True, fid=True,
        kid=True, kid_subset_size=min(1000, NUM_REAL), feature_extractor_weights_path=str(directory / "inception.pth"),
        batch_size=64, cuda=False, verbose=False, cache=False,
    )  # fmt: skip
    return {
        "seconds": time.perf_counter() - started,
        "peak_memory_mb": peak_mb(),
        "metrics": {
            "fid": metrics["frechet_inception_distance"],
            "is": metrics["inception_score_mean"],
            "kid": metrics["kernel_inception_distance_mean"],
        },
    }


def peak_mb() -> int:
    """The largest resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
