"""Merge speed and peak memory beside `cp` of the same bytes: `python -m benchmarks.io`.

Makes shards of random images, merges them with `python -m scripts.merge`, copies the merged file with `cp`. Both end
with their data on the disk (`fsync`). The order is merge, copy, merge, copy; what is compared are the better ones.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tstitch.runs.run import Run, open_run
from tstitch.runs.shards import Shard, write_shard

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--batch-size", type=int, default=32, help="images in a shard")
    parser.add_argument("--directory", type=Path, help="with three times the bytes free; default: temporary")
    parser.add_argument("--out", type=Path, default=RESULTS / "io.json")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.directory) as directory:
        result = measure(Path(directory), arguments.num_images, arguments.side, arguments.batch_size)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(directory: Path, num_images: int, side: int, batch_size: int) -> dict:
    """Times and memory of merging `num_images` random images, and of copying the result."""
    run = Run(directory / "run", {"num_images": num_images, "batch_size": batch_size})
    open_run(run, {})
    rng = np.random.default_rng(0)
    for block in run.blocks:
        images = np.frombuffer(rng.bytes(len(block) * side * side * 3), np.uint8).reshape(-1, side, side, 3)
        write_shard(run.shards, block, Shard(images, np.arange(block.start, block.stop)), run.id)
    merge = [sys.executable, "-m", "scripts.merge", f"run={run.directory}"]
    copy = ["sh", "-c", f"cp {run.samples} {directory}/copy && sync {directory}/copy"]
    times: dict[str, list[float]] = {"merge": [], "cp": []}
    for _ in range(2):
        for name, command, result in (("merge", merge, run.samples), ("cp", copy, directory / "copy")):
            result.unlink(missing_ok=True)
            times[name].append(_time(command))
        size = run.samples.stat().st_size
    merge_s, cp_s = min(times["merge"]), min(times["cp"])
    return {
        "num_images": num_images,
        "side": side,
        "bytes": size,
        "merge_s": times["merge"],
        "cp_s": times["cp"],
        "merge_mb_per_s": round(size / merge_s / 1e6, 1),
        "cp_mb_per_s": round(size / cp_s / 1e6, 1),
        "merge_speed_over_cp": round(cp_s / merge_s, 3),
        "merge_peak_memory_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
    }


def _time(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
