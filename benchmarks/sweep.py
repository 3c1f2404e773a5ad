"""A digits sweep, from the command to its pictures, now and at an earlier commit: `python -m benchmarks.sweep`.

Both run in this environment and take turns. The default commit is the one before the work on speed began.
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

from scripts.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="21cda0c", help="a commit, by default %(default)s")
    parser.add_argument("--pair", default="digits_dit_s_xl")
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--num-steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "sweep.json")
    arguments = parser.parse_args()
    settings = [f"pair={arguments.pair}", f"num_images={arguments.num_images}", "precision=auto"]
    settings.append(f"sampler.num_steps={arguments.num_steps}")
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    with TemporaryDirectory() as directory:
        before = Path(directory) / "before"
        if _git("worktree", "add", "--detach", str(before), arguments.against) != 0:
            parser.error(f"--against {arguments.against} is no commit of this repository; a full clone has them all")
        try:
            for _ in range(arguments.repeats):
                seconds["before"].append(measure(before, settings))
                seconds["now"].append(measure(ROOT, settings))
                print(seconds, flush=True)
        finally:
            _git("worktree", "remove", "--force", str(before))
    result = {
        "machine": describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "against": arguments.against,
        "pair": arguments.pair,
        "num_images": arguments.num_images,
        "num_steps": arguments.num_steps,
        "all_seconds": seconds,
        "speed_up": median(seconds["before"]) / median(seconds["now"]),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(checkout: Path, settings: list[str]) -> float:
    """Seconds of `make sweep` with the code of a checkout."""
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", "scripts.sweep", *settings, f"out={out}/sweep"]
        started = time.perf_counter()
        subprocess.run(
            command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True, capture_output=True
        )
        return time.perf_counter() - started


def _git(*arguments: str) -> int:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True).returncode


if __name__ == "__main__":
    main()
