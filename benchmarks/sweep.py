"""A digits sweep, from the command to its pictures, now and at an earlier commit: `python -m benchmarks.sweep`.

Both run in this environment and take turns, each first in every other round. The default commit is the one before the
work on speed began.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from tstitch.runs.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="21cda0c", help="a commit, by default %(default)s")
    parser.add_argument("--pair", default="digits_dit_s_xl")
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--num-steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "sweep.json")
    arguments = parser.parse_args()
    settings = [f"pair={arguments.pair}", f"num_images={arguments.num_images}", "precision=auto"]
    settings.append(f"sampler.num_steps={arguments.num_steps}")
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    with TemporaryDirectory() as directory:
        before = Path(directory) / "before"
        _git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(before))
        if _git("-C", str(before), "checkout", "--quiet", "--detach", arguments.against) != 0:
            parser.error(f"--against {arguments.against} is no commit of this repository; a full clone has them all")
        checkouts = [("before", before), ("now", ROOT)]
        for _ in range(arguments.repeats):
            for side, checkout in checkouts:
                seconds[side].append(measure(checkout, settings))
            checkouts.reverse()
            print(seconds, flush=True)
    speed_ups = [before / now for before, now in zip(seconds["before"], seconds["now"], strict=True)]
    result = {
        "machine": describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "against": arguments.against,
        "pair": arguments.pair,
        "num_images": arguments.num_images,
        "num_steps": arguments.num_steps,
        "all_seconds": seconds,
        "speed_up": median(speed_ups),
        "speed_ups": speed_ups,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(checkout: Path, settings: list[str]) -> float:
    """Seconds of `make sweep` with the code of a checkout."""
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", "scripts.sweep", *settings, f"out={out}/sweep"]
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def _git(*arguments: str) -> int:
    return subprocess.run(["git", *arguments], capture_output=True).returncode


if __name__ == "__main__":
    main()
