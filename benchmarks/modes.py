"""Speed and quality of every mode side by side on a digits pair: `python -m benchmarks.modes`.

Speed against plain float32, in batches that take turns; FID, and the mean absolute difference of pixels from what plain
float32 makes of the same noise.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.statistics import statistics
from experiments.evaluation import load_evaluation
from models.checkout import CONFIG_DIR
from sampling.batch import sample_images
from sampling.configuration import resolved
from sampling.networks import load_networks
from sampling.plan import Plan, make_plan
from tstitch.runs.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
PLAIN = "float32"
MODES = {
    PLAIN: [],
    "float32, compiled": ["compile=default"],
    "bf16": ["precision=bf16"],
    "bf16 by autocast": [],
    "bf16, autoencoder too": ["precision=bf16", "autoencoder_precision=bf16"],
    "bf16, compiled": ["precision=bf16", "compile=default"],
}
AUTOCAST = ("bf16 by autocast",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="digits_dit_s_xl")
    parser.add_argument("--fraction", type=float, default=0.4)
    parser.add_argument("--num-images", type=int, default=1024)
    parser.add_argument("--num-steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--out", type=Path, default=RESULTS / "modes.json")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plans = {mode: _plan(arguments, MODES[mode]) for mode in arguments.modes}
    samplers = {mode: _sampler(mode, plan, device) for mode, plan in plans.items()}
    images, seconds = measure(samplers, arguments.num_images, arguments.batch_size)
    evaluation = load_evaluation(plans[PLAIN].evaluation, device)
    found = {}
    for mode, own in images.items():
        features = np.concatenate([evaluation.extractor(own[i : i + 256]).pool for i in range(0, len(own), 256)])
        found[mode] = {
            "seconds": seconds[mode],
            "speed_up": seconds[PLAIN] / seconds[mode],
            "fid": frechet_distance(statistics(features), evaluation.reference.pool),
            "pixel_difference": float(np.abs(own.astype(int) - images[PLAIN]).mean()),
        }
    result = {
        "machine": describe_machine(device),
        "pair": arguments.pair,
        "fraction": arguments.fraction,
        "num_images": arguments.num_images,
        "num_steps": arguments.num_steps,
        "batch_size": arguments.batch_size,
        "modes": found,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(
    samplers: dict[str, Callable[[range], np.ndarray]], num_images: int, batch_size: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Images (N, H, W, 3) and seconds of each mode; every batch is sampled by all modes in a shuffled order."""
    order, shuffle = list(samplers), random.Random(0).shuffle
    images, seconds = {mode: [] for mode in order}, dict.fromkeys(order, 0.0)
    for mode in order:
        samplers[mode](range(batch_size))  # warm, and compiled
    for start in range(0, num_images, batch_size):
        shuffle(order)
        for mode in order:
            started = time.perf_counter()
            images[mode].append(samplers[mode](range(start, start + batch_size)))
            seconds[mode] += time.perf_counter() - started
    return {mode: np.concatenate(parts)[:num_images] for mode, parts in images.items()}, seconds


def _sampler(mode: str, plan: Plan, device: torch.device) -> Callable[[range], np.ndarray]:
    networks = load_networks(plan, device)
    context: Callable[[], AbstractContextManager] = nullcontext
    if mode in AUTOCAST:
        context = partial(torch.autocast, device.type, torch.bfloat16)

    def sample(indices: range) -> np.ndarray:
        with context():
            return sample_images(plan, networks, indices, device)[0].numpy()

    return sample


def _plan(arguments: argparse.Namespace, overrides: list[str]) -> Plan:
    fractions = f"[{arguments.fraction:g},{1 - arguments.fraction:g}]"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        asked = [f"pair={arguments.pair}", f"stitch.fractions={fractions}", f"batch_size={arguments.batch_size}"]
        settings = compose("sample", [*asked, f"sampler.num_steps={arguments.num_steps}", *overrides])
    return make_plan(resolved(settings))


if __name__ == "__main__":
    main()
