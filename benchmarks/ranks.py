"""Sampling under torchrun with one rank and with more: `python -m benchmarks.ranks`."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tstitch.runs.machine import describe_machine
from tstitch.runs.run import read_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
NOT_SAMPLING = ("writing", "merging")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="digits_dit_s_xl")
    parser.add_argument("--num-images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "ranks.json")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    possible = possible_ranks(arguments.ranks, device)
    found: dict[int, list[float]] = {ranks: [] for ranks in possible}
    for _ in range(arguments.repeats):
        for ranks, seconds in found.items():
            seconds.append(measure(ranks, arguments.pair, arguments.num_images, arguments.batch_size))
    result = {
        "machine": describe_machine(device),
        "pair": arguments.pair,
        "num_images": arguments.num_images,
        "batch_size": arguments.batch_size,
        "ranks": {str(ranks): {"seconds": min(seconds), "all_seconds": seconds} for ranks, seconds in found.items()},
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def possible_ranks(asked: Sequence[int], device: torch.device) -> list[int]:
    """The numbers of ranks for which each has a GPU of its own; all of them on a CPU."""
    num_gpus = torch.cuda.device_count()
    left_out = [ranks for ranks in asked if device.type == "cuda" and ranks > num_gpus]
    if left_out:
        print(f"not measured with {', '.join(map(str, left_out))} ranks: PyTorch sees {num_gpus} GPUs", file=sys.stderr)
    return [ranks for ranks in asked if ranks not in left_out]


def measure(ranks: int, pair: str, num_images: int, batch_size: int) -> float:
    """Seconds of sampling, a mean over ranks that work side by side."""
    with TemporaryDirectory() as directory:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        settings = [f"pair={pair}", f"num_images={num_images}", f"batch_size={batch_size}", "sampler.num_steps=20"]
        out = Path(directory) / "run"
        command = [*launcher, "-m", "scripts.sample", *settings, "precision=auto", f"out={out}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        stages = read_json(out / "run.json")["seconds"]
    return sum(seconds for stage, seconds in stages.items() if stage not in NOT_SAMPLING) / ranks


if __name__ == "__main__":
    main()
