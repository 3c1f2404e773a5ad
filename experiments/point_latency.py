"""Latencies of a sweep's points: kept beside each point's run by machine, so that a table has those of one machine."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from evaluation.speed.latency import measure_latency
from sampling.job import RunPlan
from sampling.jobs import Jobs
from tstitch.runs.machine import device_name
from tstitch.runs.run import Run, read_json, write_json

LATENCY = "latency.json"


def latency_key(plan: RunPlan, settings: dict, device: torch.device) -> dict:
    """List what a latency depends on beside the run: the machine, how networks are in memory, how it is measured."""
    machine = {"device": device_name(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    return {"machine": machine, "residency": plan.residency, **settings}


def read_latency(run: Run, key: dict) -> dict | None:
    """The latency of a run under a key, with the key's entries; None where it was not measured."""
    return next((own for own in _sessions(run) if all(own.get(name) == value for name, value in key.items())), None)


def measure_missing(points: Sequence[tuple[RunPlan, Run]], jobs: Jobs, settings: dict, device: torch.device) -> None:
    """Measure points in one shuffled session and keep what they had of other machines and settings."""
    batch_size, repeats = settings["batch_size"], settings["repeats"]
    print(f"latency: {repeats} repeats of {batch_size} images at {len(points)} points")
    calls = [partial(jobs.job(plan).sample, range(batch_size)) for plan, _ in points]
    for (plan, run), latency in zip(points, measure_latency(calls, repeats, device), strict=True):
        measured = {**latency_key(plan, settings, device), **latency.per_image(batch_size)}
        write_json(run.directory / LATENCY, {"run_id": run.id, "sessions": [*_sessions(run), measured]})


def _sessions(run: Run) -> list[dict]:
    """All that was measured of a run; nothing where the file is of another run or another layout."""
    path: Path = run.directory / LATENCY
    if not path.is_file():
        return []
    content = read_json(path)
    sessions = content.get("sessions")
    return sessions if content.get("run_id") == run.id and isinstance(sessions, list) else []
