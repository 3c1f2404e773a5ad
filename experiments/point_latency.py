"""Latencies of a sweep's points: kept beside each point's run by machine, so that a table has those of one machine."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from evaluation.records import Record
from evaluation.report.sweep_file import LatencyRecord
from evaluation.speed.latency import measure_latency
from experiments.mix import COUNTS, is_routed
from experiments.scored import earlier_content
from sampling.job import RunPlan
from sampling.jobs import Jobs
from settings.types import Words
from tstitch.runs.json_files import write_json
from tstitch.runs.machine import device_name
from tstitch.runs.run import Run
from tstitch.runs.shards import read_decisions

LATENCY = "latency.json"


class SessionsRecord(Record):
    """`latency.json` of a point: what was measured of a run, by machine and settings."""

    run_id: Words
    sessions: list[LatencyRecord]


def latency_key(plan: RunPlan, settings: dict, device: torch.device) -> dict:
    """List what a latency depends on beside the run: the machine, how networks are in memory, how it is measured."""
    machine = {"device": device_name(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    chosen = {"images": "by evaluations"} if is_routed(plan) else {}
    return {"machine": machine, "residency": plan.residency, **settings, **chosen}


def read_latency(run: Run, key: dict) -> dict | None:
    """The latency of a run under a key, with the key's entries; None where it was not measured."""
    return next((own for own in _sessions(run) if all(own.get(name) == value for name, value in key.items())), None)


def measure_missing(points: Sequence[tuple[RunPlan, Run]], jobs: Jobs, settings: dict, device: torch.device) -> None:
    """Measure points in one shuffled session and keep what they had of other machines and settings."""
    batch_size, repeats = settings["batch_size"], settings["repeats"]
    print(f"latency: {repeats} repeats of {batch_size} images at {len(points)} points")
    calls = [partial(jobs.job(plan).sample, timed_images(plan, run, batch_size)) for plan, run in points]
    for (plan, run), latency in zip(points, measure_latency(calls, repeats, device), strict=True):
        measured = {**latency_key(plan, settings, device), **latency.per_image(batch_size)}
        write_json(run.directory / LATENCY, {"run_id": run.id, "sessions": [*_sessions(run), measured]})


def timed_images(plan: RunPlan, run: Run, batch_size: int) -> Sequence[int]:
    """Choose the images of a finished run that are timed: the first ones, unless they decide what they cost.

    Then, of all in the order of their evaluations (of the large model first), those in the middle of each of as many
    equal parts: their mean cost is near that of all, whatever the first ones decided.
    """
    decisions = read_decisions(run.shards, run.blocks, run.id) if is_routed(plan) else {}
    if COUNTS not in decisions:
        return range(batch_size)
    by_cost = np.lexsort(decisions[COUNTS].T)
    places = ((np.arange(batch_size) + 0.5) * len(by_cost) / batch_size).astype(int)
    return by_cost[places].tolist()


def _sessions(run: Run) -> list[dict]:
    """All that was measured of a run; nothing where the file is of another run, or cannot be used."""
    content = earlier_content(run.directory / LATENCY, SessionsRecord)
    return content.get("sessions", []) if content.get("run_id") == run.id else []
