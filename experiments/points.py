"""The points of a sweep, one after another, in this process or under one torchrun, and what failed."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch

from evaluation.metrics.sources import open_source
from experiments.axes import PlannedPoint
from experiments.evaluation import Evaluation, extractor_name, load_evaluation
from experiments.scored import RESULT, Scoring, is_scored, metrics_there, read_scoring, with_earlier
from models.checkout import ROOT
from sampling.job import RunPlan
from sampling.jobs import make_jobs, plan_run
from sampling.run import sample_run
from settings.check import check_settings
from settings.sweep_prompts import PromptSweepSettings
from tstitch.errors import UserError, explain_error, is_out_of_memory
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.ranks import Ranks, choose_device, end_with_parent, joined_ranks
from tstitch.runs.run import Run, identity_hash, locked

POLL_S = 0.5


@dataclass(frozen=True)
class SweepPoint:
    """A planned point and its run."""

    planned: PlannedPoint
    run: Run

    @property
    def plan(self) -> RunPlan:
        return self.planned.plan

    def is_done(self, scoring: Scoring) -> bool:
        """Tell whether it is sampled and scored as it would be now; not so where its result cannot be read."""
        with suppress(UserError):
            return self.run.samples.is_file() and is_scored(self.plan, self.run, scoring)
        return False


class Networks:
    """The networks that the points of a sweep share in this process, loaded when the first one needs it."""

    def __init__(self, plans: Sequence[RunPlan], ranks: Ranks, device: torch.device):
        self.settings, self.ranks, self.device = plans[0].evaluation, ranks, device
        self.jobs = make_jobs(plans, device)

    @cached_property
    def evaluation(self) -> Evaluation:
        return load_evaluation(self.settings, self.device, self.ranks)

    @cached_property
    def scoring(self) -> Scoring:
        """The settings and files that `evaluation` would score with, without loading it."""
        return read_scoring(self.settings, extractor_name(self.settings["extractor"]), self.device)


def point_run(planned: PlannedPoint, directory: Path, device: torch.device) -> SweepPoint:
    """The run of a point under `directory`, in a place of its own for everything that decides the bytes."""
    identity = planned.plan.identity(device.type)
    name = f"{planned.plan.directory_name()}-{identity_hash(identity)}"
    return SweepPoint(planned, Run(directory / name, identity))


def open_scoring(points: Sequence[SweepPoint], networks: Networks, in_ranks: bool) -> None:
    """Open and check what scoring needs, before the first image of points that are not done.

    Args:
        in_ranks: the ranks of torchrun will open it for themselves, so nothing of it is kept here.

    Raises:
        UserError: a file or a setting with which the points could not be scored.
    """
    waiting = [point for point in points if not point.is_done(networks.scoring)]
    if not waiting or not networks.settings["metrics"]:
        return
    opened = load_evaluation(networks.settings, torch.device("cpu")) if in_ranks else networks.evaluation
    for point in waiting:
        shape = point.plan.image_shape
        opened.check(None if shape is None else shape[:2], point.plan.num_images, point.run.directory)


def run_points(
    points: Sequence[SweepPoint], networks: Networks, num_ranks: int | None, out: Path, process_per_point: bool = False
) -> Iterator[tuple[int, str | None]]:
    """Run what is missing; yield each point's position, and why it failed or None, as soon as that is known.

    Args:
        num_ranks: processes of one torchrun that goes through all points, or None for this process.
        out: the sweep's directory, for what torchrun is told.
        process_per_point: start a torchrun for each point, so that its peak memory is its own.
    """
    waiting = {number: point for number, point in enumerate(points) if not point.is_done(networks.scoring)}
    yield from ((number, None) for number in range(len(points)) if number not in waiting)
    if num_ranks is not None:
        size = 1 if process_per_point else len(points)
        while part := dict(islice(waiting.items(), size)):
            yield from _run_under_torchrun(dict(part), networks, num_ranks, out, len(points))
            waiting = {number: point for number, point in waiting.items() if number not in part}
        return
    for number, point in waiting.items():
        print(f"[{number + 1}/{len(points)}] {point.plan.describe()}")
        yield number, _run_here(point, networks)


def _run_here(point: SweepPoint, networks: Networks) -> str | None:
    """Run a point in this process; the reason where it failed."""
    try:
        with locked(point.run.directory):
            run_point(point.plan, point.run, networks)
        return None
    except (UserError, OSError) as error:
        reason = str(error)
    except Exception as error:  # a point that breaks must not take the others with it
        if not is_out_of_memory(error):
            traceback.print_exc()
        reason = explain_error(error)
    print(f"failed: {reason}", file=sys.stderr)
    return reason


def _run_under_torchrun(
    waiting: dict[int, SweepPoint], networks: Networks, num_ranks: int, out: Path, total: int
) -> Iterator[tuple[int, str | None]]:
    """Let one torchrun go through the points in order. Where it ends early, a point failed; it starts anew after it."""
    while waiting:
        process = _launch(waiting, num_ranks, out, total)
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                yield from _take_done(waiting, networks.scoring)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            process.wait()
        yield from _take_done(waiting, networks.scoring)
        if waiting:
            number = next(iter(waiting))
            reason = f"torchrun ended with exit code {process.returncode}; its messages are above"
            print(f"failed: {waiting.pop(number).plan.describe()}: {reason}", file=sys.stderr)
            yield number, reason


def _take_done(waiting: dict[int, SweepPoint], scoring: Scoring) -> Iterator[tuple[int, None]]:
    """Take the first points out of those that wait, as far as they are done."""
    for number, point in list(waiting.items()):
        if not point.is_done(scoring):
            return
        del waiting[number]
        yield number, None


def _launch(waiting: dict[int, SweepPoint], num_ranks: int, out: Path, total: int) -> subprocess.Popen:
    """Start `torchrun -m scripts.point FILE`, which ends with this process, however that ends."""
    path = (out / "settings" / "points.json").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [
        {
            "title": f"[{number + 1}/{total}] {point.plan.describe()}",
            "out": str(point.run.directory.absolute()),
            "settings": point.planned.settings.as_dict(),
        }
        for number, point in waiting.items()
    ]
    first = next(iter(waiting.values())).planned.settings
    schema = "sweep_prompts" if isinstance(first, PromptSweepSettings) else "sweep"
    write_json(path, {"settings_of": schema, "points": points})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    return subprocess.Popen([*command, "-m", "scripts.point", str(path)], cwd=ROOT, preexec_fn=end_with_parent)


def run_listed_points(path: Path) -> None:
    """Run the points that `scripts.sweep` listed in a file, on the ranks of torchrun; the first failure ends it.

    Networks are loaded, and compiled, once for all of them.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"settings_of", "points"} <= content.keys():
        raise UserError(f"{path} is no list of points; python -m scripts.sweep ranks=N writes one and starts this")
    listed = content["points"]
    settings = [check_settings(content["settings_of"], entry["settings"]) for entry in listed]
    plans = [plan_run(own) for own in settings]
    with joined_ranks() as ranks:
        device = choose_device(settings[0].device, ranks.local_rank, ranks.local_world_size)
        networks = Networks(plans, ranks, device)
        for plan, entry in zip(plans, listed, strict=True):
            run = Run(Path(entry["out"]), plan.identity(device.type))
            with locked(run.directory) if ranks.is_main else nullcontext():
                if ranks.is_main:
                    print(entry["title"])
                run_point(plan, run, networks)


def run_point(plan: RunPlan, run: Run, networks: Networks) -> None:
    """Sample and score one point on the ranks that are joined. Metrics that others have asked for are kept."""
    sample_run(networks.jobs.job(plan), run, networks.ranks)
    there = metrics_there(run, networks.scoring)
    missing = [name for name in plan.evaluation["metrics"] if name not in there]
    if not missing:
        return
    result = replace(networks.evaluation, metrics=missing).result(open_source(run.directory), networks.ranks)
    if networks.ranks.is_main:
        write_json(run.directory / RESULT, with_earlier(result, run.directory / RESULT))
