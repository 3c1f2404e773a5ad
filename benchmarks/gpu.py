"""Everything that needs an NVIDIA GPU, in ten minutes and one file: `make gpu`.

The tests marked `gpu`, the rehearsal, latency, what the layout of convolutions does to decoding, and the sampler beside
diffusers' at full size. A part that fails or takes too long does not stop the others.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
TOTAL_S, FAREWELL_S = 590.0, 5.0
SOME_PARTS_FAILED, NO_GPU = 1, 2
PROCESSES = 6  # of tests beside each other on one GPU
TAIL = 4000  # characters that are kept of what a failed part printed
PACKAGES = ("torch", "triton", "diffusers", "timm", "transformers", "numpy")


@dataclass(frozen=True)
class Part:
    """A command, the seconds it may take, and the file that it writes its numbers to."""

    name: str
    command: Sequence[str]
    limit_s: float
    numbers: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """The end of a part: `passed`, `failed` or `timed out`, its last words unless it passed, and its numbers."""

    outcome: str
    seconds: float
    summary: str
    output_tail: str | None
    numbers: dict | None


def main() -> None:
    if not torch.cuda.is_available():
        print("error: make gpu needs an NVIDIA GPU, and PyTorch sees none", file=sys.stderr)
        sys.exit(NO_GPU)
    device = torch.device("cuda", 0)
    out = RESULTS / f"{slug(torch.cuda.get_device_name(device))}.json"
    with TemporaryDirectory() as folder:
        outcomes = run_parts(gpu_parts(Path(folder)), TOTAL_S)
    write_json(out, {"machine": {**describe_machine(device), **versions()}, **_as_dict(outcomes)})
    print(out)
    failed = [f"{name}: {own.outcome} after {own.seconds:.0f} s" for name, own in outcomes.items() if not _passed(own)]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} parts failed:", *failed, sep="\n", file=sys.stderr)
        sys.exit(SOME_PARTS_FAILED)


def gpu_parts(folder: Path) -> list[list[Part]]:
    """The parts, in their order: what checks runs at once, what is measured runs alone, and the last one may take all
    the time that is left.

    Args:
        folder: for the files of numbers.
    """
    python = (sys.executable, "-m")
    pytest = (*python, "pytest", "-q", "-p", "no:cacheprovider")
    latency, layout, sampler = (folder / f"{name}.json" for name in ("latency", "layout", "sampler"))
    pair = ("pair=digits_dit_s_xl", "sampler=ddim", "sampler.num_steps=50", "fractions=0:1:0.1", "repeats=7")
    # Fewer steps than a run has: the ratios are by step, and float32 without TF32 takes half a minute for 50 of them.
    size = ("--num-steps", "10", "--batch-size", "32", "--repeats", "3", "--compile", "none", "default")
    return [
        [
            Part("tests", (*pytest, "-m", "gpu", "-n", str(PROCESSES)), 240),
            Part("rehearsal", (*pytest, "-m", "slow", "-s", "tests/test_rehearsal.py"), 240),
        ],
        [Part("latency", (*python, "scripts.latency", *pair, f"out={latency}"), 90, latency)],
        [Part("layout", (*python, "benchmarks.layout", "--out", str(layout)), 60, layout)],
        [Part("sampler", (*python, "benchmarks.sampler", *size, "--sizes", "S", "XL", "--out", str(sampler)),
              TOTAL_S, sampler)],
    ]  # fmt: skip


def run_parts(groups: Sequence[Sequence[Part]], total_s: float) -> dict[str, Outcome]:
    """Run the groups in turn and the parts of a group at once, whatever becomes of the others, in `total_s` at most."""
    deadline, outcomes = time.monotonic() + total_s, {}
    for group in groups:
        left_s = deadline - time.monotonic()
        with ThreadPoolExecutor() as threads:
            ended = threads.map(lambda part: run_part(part, min(part.limit_s, left_s)), group)  # noqa: B023
            outcomes |= {part.name: outcome for part, outcome in zip(group, ended, strict=True)}
        for part in group:
            print(f"{part.name}: {outcomes[part.name].outcome}, {outcomes[part.name].seconds:.0f} s", flush=True)
    return outcomes


def run_part(part: Part, limit_s: float) -> Outcome:
    """Run a part, and end it with its children after `limit_s`. What it has written till then is kept."""
    started = time.monotonic()
    if limit_s <= 0:
        return Outcome("timed out", 0.0, "no time was left", None, None)
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                part.command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                outcome = "passed" if process.wait(limit_s) == 0 else "failed"
            except subprocess.TimeoutExpired:
                outcome = "timed out"
            finally:
                _end(process)
        output = log.read_text(errors="replace").strip()
    is_written = part.numbers is not None and part.numbers.is_file()
    return Outcome(
        outcome,
        round(time.monotonic() - started, 1),
        output.rpartition("\n")[2][-200:] if part.numbers is None else "",
        None if outcome == "passed" else output[-TAIL:],
        read_json(part.numbers) if is_written else None,
    )


def slug(name: str) -> str:
    """A device's name as a file's: `NVIDIA H100 80GB HBM3` is `nvidia_h100_80gb_hbm3`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def versions() -> dict[str, object]:
    """Versions of what runs on the GPU."""
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "num_gpus": torch.cuda.device_count(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _end(process: subprocess.Popen) -> None:
    """Signals for the command's process group: pytest tells its failures so far when it is interrupted, torchrun ends
    its ranks."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(FAREWELL_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _passed(outcome: Outcome) -> bool:
    return outcome.outcome == "passed"


def _as_dict(outcomes: dict[str, Outcome]) -> dict:
    """The parts' outcomes without what is empty, then their numbers by name."""
    parts = {
        name: {key: value for key, value in asdict(own).items() if key != "numbers" and value}
        for name, own in outcomes.items()
    }
    return {"parts": parts, **{name: own.numbers for name, own in outcomes.items() if own.numbers is not None}}


if __name__ == "__main__":
    main()
