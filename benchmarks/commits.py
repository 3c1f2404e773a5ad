"""The sampler of this checkout beside that of an earlier commit, in turns: `python -m benchmarks.commits COMMIT`.

Each turn is a process of `scripts.latency` in one of the two. The ratio at each fraction is the median over the turns
of the time here by that of the commit's turn before it, so that what else the machine does falls on both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from models.checkout import ROOT
from tstitch.runs.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
FRACTIONS = (0, 0.4, 1)


def measure(checkout: Path, arguments: list[str], out: Path) -> dict[str, float]:
    """Median seconds of a batch of 8 by fraction, as `scripts.latency` of a checkout measures them."""
    fractions = f"fractions=[{','.join(map(str, FRACTIONS))}]"
    command = [sys.executable, "-m", "scripts.latency", *arguments, fractions, f"out={out}"]
    environment = {**os.environ, "PYTHONPATH": "."}
    subprocess.run(command, cwd=checkout, check=True, capture_output=True, env=environment)
    points = json.loads(out.read_text())["batches"][0]["points"]
    return {str(point["asked"][0][0]): point["median_s"] for point in points}


def compare(commit: str, arguments: list[str], turns: int) -> dict:
    """Time both checkouts in turns."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", earlier, commit], cwd=ROOT, check=True)
        try:
            pairs = [
                [measure(place, arguments, Path(folder) / f"{turn}-{name}.json") for name, place in
                 (("earlier", earlier), ("here", ROOT))]
                for turn in range(turns)
            ]  # fmt: skip
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", earlier], cwd=ROOT, check=True)
    ratios = {name: [here[name] / then[name] for then, here in pairs] for name in pairs[0][0]}
    return {
        "machine": describe_machine(torch.device("cpu")), "commit": commit, "here": _commit("HEAD"),
        "arguments": arguments, "ratios": ratios,
        "median_ratio": {name: median(each) for name, each in ratios.items()},
    }  # fmt: skip


def _commit(name: str) -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", name], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the earlier one")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "commits.json")
    parser.add_argument("arguments", nargs="*", help="of scripts.latency, such as pair=digits_dit_s_xl repeats=15")
    given = parser.parse_intermixed_args()
    result = compare(given.commit, given.arguments, given.turns)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["median_ratio"]))


if __name__ == "__main__":
    main()
