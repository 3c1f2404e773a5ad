"""A run's directory: its place, its facts, and the images that are missing. Of images from classes and from prompts."""

import platform
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from models.checkout import ROOT
from tstitch.allocation import show_fractions
from tstitch.errors import UserError, is_out_of_memory
from tstitch.runs.generate import generate
from tstitch.runs.machine import device_name
from tstitch.runs.progress import Progress
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, identity_hash, read_json, write_json
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock, peak_memory_mb, restart_peak_memory

REGENERATED = "regenerated"


def place_run(out: str | None, name: str, identity: dict) -> Run:
    """The run of an identity: in `out`, or in a directory under `runs` that has a readable name."""
    return Run(Path(out) if out is not None else ROOT / "runs" / f"{name}-{identity_hash(identity)}", identity)


def run_facts(
    timesteps: Sequence[float],
    denoisers: Sequence[str],
    fractions: Sequence[float],
    evaluation: dict,
    device: torch.device,
    packages: Sequence[str],
) -> dict:
    """What `run.json` says besides the identity.

    Args:
        denoisers: their names, small to large.
        fractions: the share of the steps that each of them takes.
        evaluation: how the images are to be scored, unless a command says otherwise.
        packages: that make the images, besides PyTorch; their versions are recorded.
    """
    return {
        "num_steps": len(timesteps),
        "timesteps": timesteps,
        "denoisers": denoisers,
        "fractions": fractions,
        "evaluation": evaluation,
        "device_name": device_name(device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in packages},
        },
    }


def fill_run(
    run: Run,
    make_shards: Callable[[StageClock, Sequence[Block]], Iterable[tuple[Block, Shard]]],
    image_bytes: int,
    fractions: Sequence[float],
    ranks: Ranks,
    device: torch.device,
    image_shape: tuple[int, ...] | None = None,
) -> None:
    """Make what is missing of a run that rank 0 has opened, and record its seconds by stage and its memory.

    Args:
        make_shards: samples blocks, one after another, and marks its stages on a clock.
        image_bytes: the size of one image.
        fractions: of the denoisers, for lines of progress.
        image_shape: (H, W, 3), where it is known before the images are made.

    Raises:
        UserError: the GPU's memory or the disk is too small.
    """
    ranks.wait_for_all()
    restart_peak_memory(device)
    clock, label = StageClock(device), show_fractions(fractions)
    try:
        generate(
            run, ranks, partial(make_shards, clock), image_bytes, print,
            lambda missing: Progress(run, missing, label), clock, image_shape,
        )  # fmt: skip
    except (RuntimeError, MemoryError) as error:
        size = run.identity["batch_size"]
        if not is_out_of_memory(error) or size == 1:
            raise
        memory = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        raise UserError(
            f"out of {memory} at batch_size={size}; try batch_size={max(1, size // 2)} with another out"
        ) from error
    measured = ranks.gather({"seconds": clock.totals(), "peak_memory_mb": peak_memory_mb(device)})
    if ranks.is_main:
        _record(run, [own["seconds"] for own in measured], [own["peak_memory_mb"] for own in measured])


def _record(run: Run, seconds: list[dict[str, float]], peaks: list[dict[str, float]]) -> None:
    """Add this launch's seconds by stage, summed over ranks, to those of earlier ones; keep the largest memory."""
    facts = read_json(run.record)
    if "seconds" in facts and not any(seconds):
        return  # nothing was made: what is there was measured where the images were made
    total, peak = facts.get("seconds", {}), facts.get("peak_memory_mb", {})
    for own in seconds:
        total = {stage: total.get(stage, 0) + own.get(stage, 0) for stage in total | own}
    for own in peaks:
        peak = {place: round(max(peak.get(place, 0), value)) for place, value in own.items()}
    regenerated = [read_json(path) for path in sorted((run.directory / REGENERATED).glob("*.json"))]
    write_json(run.record, {**facts, "seconds": total, "peak_memory_mb": peak, "regenerated": regenerated})
