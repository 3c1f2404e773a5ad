"""A sweep at work: points one after another, in this process or each under torchrun, and what failed."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from evaluation.metrics.sources import open_source
from experiments.axes import PlannedPoint
from experiments.evaluation import Evaluation, extractor_name, load_evaluation
from experiments.scored import RESULT, Scoring, is_scored, metrics_there, read_scoring
from models.checkout import ROOT
from models.placement.residency import Residency
from sampling.job import ClassJob
from sampling.networks import load_networks
from sampling.plan import Plan
from sampling.run import sample_run
from tstitch.errors import UserError, is_out_of_memory
from tstitch.runs.ranks import Ranks, end_with_parent
from tstitch.runs.run import Run, identity_hash, locked, write_json


@dataclass(frozen=True)
class SweepPoint:
    """A planned point and its run."""

    planned: PlannedPoint
    run: Run

    @property
    def plan(self) -> Plan:
        return self.planned.plan

    def is_done(self, scoring: Scoring) -> bool:
        """Whether it is sampled and scored as it would be now."""
        return self.run.samples.is_file() and is_scored(self.plan, self.run, scoring)


class Networks:
    """What the points of a sweep share in this process, loaded when the first one needs it."""

    def __init__(self, points: Sequence[SweepPoint], ranks: Ranks, device: torch.device):
        self.plan, self.used = points[0].plan, {index for point in points for index in point.plan.used}
        self.ranks, self.device = ranks, device

    @cached_property
    def sampling(self) -> Residency:
        return load_networks(self.plan, self.device, self.used)

    @cached_property
    def evaluation(self) -> Evaluation:
        return load_evaluation(self.plan.evaluation, self.device, self.ranks)

    @cached_property
    def scoring(self) -> Scoring:
        """What `evaluation` would score with, without loading it."""
        settings = self.plan.evaluation
        return read_scoring(settings, extractor_name(settings["extractor"]), self.device)


def point_run(planned: PlannedPoint, directory: Path, device: torch.device) -> SweepPoint:
    """The run of a point under `directory`, in a place of its own for everything that decides the bytes."""
    identity = planned.plan.identity(device.type)
    name = f"{planned.plan.directory_name()}-{identity_hash(identity)}"
    return SweepPoint(planned, Run(directory / name, identity))


def run_points(
    points: Sequence[SweepPoint],
    networks: Networks,
    num_ranks: int | None,
    out: Path,
    finished: Callable[[SweepPoint], None],
) -> dict[int, str]:
    """Run what is missing, in this process or each point under torchrun; failed points: position -> reason.

    Args:
        num_ranks: processes of each point, or None for this process.
        finished: called after each point that is there, new or not.
    """
    failed: dict[int, str] = {}
    for number, point in enumerate(points):
        print(f"[{number + 1}/{len(points)}] {point.plan.describe()}")
        try:
            if not point.is_done(networks.scoring):
                _run_here(point, networks) if num_ranks is None else _launch(point, num_ranks, out)
        except (UserError, OSError) as error:
            failed[number] = str(error)
        except Exception as error:  # a point that breaks must not take the others with it
            if not is_out_of_memory(error):
                traceback.print_exc()
            failed[number] = f"{type(error).__name__}: {error}"
        if number in failed:
            print(f"failed: {failed[number]}", file=sys.stderr)
        else:
            finished(point)
    return failed


def run_point(
    plan: Plan,
    run: Run,
    networks: Residency,
    evaluation: Evaluation,
    ranks: Ranks,
    device: torch.device,
) -> None:
    """Sample and score one point on the ranks that are joined. Metrics that others have asked for are kept."""
    sample_run(ClassJob(plan, networks, device), run, ranks)
    earlier = metrics_there(run, evaluation.scoring)
    if set(plan.evaluation["metrics"]) <= set(earlier):
        return
    metrics = list(dict.fromkeys([*earlier, *plan.evaluation["metrics"]]))
    result = replace(evaluation, metrics=metrics).result(open_source(run.directory), ranks)
    if ranks.is_main:
        write_json(run.directory / RESULT, result)


def _run_here(point: SweepPoint, networks: Networks) -> None:
    with locked(point.run.directory):
        run_point(point.plan, point.run, networks.sampling, networks.evaluation, networks.ranks, networks.device)


def _launch(point: SweepPoint, num_ranks: int, out: Path) -> None:
    """Run a point as `torchrun -m scripts.point SETTINGS`, which ends with this process, however that ends."""
    settings = out / "settings" / f"{point.run.directory.name}.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings, {"out": str(point.run.directory.absolute()), "settings": point.planned.settings})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    process = subprocess.Popen(
        [*command, "-m", "scripts.point", str(settings.absolute())], cwd=ROOT, preexec_fn=end_with_parent
    )
    try:
        code = process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait()
    if code != 0:
        raise UserError(f"torchrun ended with exit code {code}; its messages are above")
