"""From planned points to a finished sweep: run, time, compare, put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from evaluation.influence import fid_spread
from evaluation.latency import measure_latency
from evaluation.sources import open_source
from evaluation.spread import describe_difference
from evaluation.sweep import Point, Sweep, is_metric, write_sweep
from scripts.cli import ROOT
from scripts.dashboard import Dashboard
from scripts.grid import AXES, PlannedPoint
from scripts.point_runs import LATENCY, PAIRED, RESULT, Networks, SweepPoint, holds, point_run, run_points
from scripts.progress import Counter
from scripts.sampling import sample_images
from tstitch.allocation import show_fractions
from tstitch.errors import UserError
from tstitch.ranks import joined_ranks
from tstitch.run import Run, check_run, identity_hash, locked, read_json, write_json

POINTS = "points"
OF_A_POINT = ("allocation", "guidance", "denoisers")
# What a comparison of two points depends on, beside the points.
COMPARED_BY = ("extractor", "extractor_weights", "reference", "bootstrap")


@dataclass(frozen=True)
class Swept:
    """A sweep's directory, what it found (None where every point failed), the points' runs, and what failed."""

    directory: Path
    sweep: Sweep | None
    runs: list[Run]
    failed: list[str]


def sweep_points(planned: Sequence[PlannedPoint], settings: dict, device: torch.device) -> Swept:
    """Run the points that are missing, time them in one shuffled session, and write `sweep.json` and `sweep.csv`."""
    out = Path(settings["out"]) if settings["out"] is not None else default_directory(settings)
    points = [point_run(point, points_directory(settings), device) for point in planned]
    for point in points:
        check_run(point.run)
    dashboard = Dashboard(settings["wandb"], out)
    with joined_ranks() as ranks, locked(out):
        if ranks.world_size > 1:
            raise UserError("a sweep starts without torchrun; ranks=N runs each of its points under torchrun")
        networks = Networks(points, ranks, device)
        failures = run_points(points, networks, settings["ranks"], out, dashboard.log_result)
        done = [point for number, point in enumerate(points) if number not in failures]
        failed = [f"{points[number].plan.describe()}: {reason}" for number, reason in failures.items()]
        if not done:
            return Swept(out, None, [], failed)
        _measure_missing_latencies(done, networks, settings["latency"])
        compared = _compare_with_large(done, networks)
        sweep = Sweep([_collect(point, compared.get(point.run.id), out) for point in done], _shared_protocol(done))
        write_sweep(sweep, out)
        dashboard.log_sweep(sweep, done)
    return Swept(out, sweep, [point.run for point in done], failed)


def points_directory(settings: dict) -> Path:
    """Where the points' runs lie: shared by all sweeps unless they have a directory of their own."""
    if settings["points"] is not None:
        return Path(settings["points"])
    return (ROOT / "runs" if settings["out"] is None else Path(settings["out"])) / POINTS


def planned_places(planned: Sequence[PlannedPoint], settings: dict, device: torch.device) -> list[str | None]:
    """Where the points' runs lie or will lie; None where weights are missing, which decide it too."""
    directory = points_directory(settings)
    return [
        None if point.plan.missing_weights else str(point_run(point, directory, device).run.directory)
        for point in planned
    ]


def default_directory(settings: dict) -> Path:
    """Named after everything but the axes, so that a fraction more continues the same sweep."""
    ignored = {*AXES, "also", "out", "points", "ranks", "wandb", "latency", "dry_run", "tflops", "residency"}
    shared = {key: value for key, value in settings.items() if key not in ignored}
    return ROOT / "runs" / f"sweep-{settings['pair']['name']}-{identity_hash(shared)}"


def _measure_missing_latencies(points: Sequence[SweepPoint], networks: Networks, settings: dict) -> None:
    """Measure the points that have no latency with these settings yet, in one shuffled session."""
    missing = [p for p in points if not holds(p.run.directory / LATENCY, run_id=p.run.id, **settings)]
    if not missing:
        return
    batch_size, repeats = settings["batch_size"], settings["repeats"]
    print(f"latency: {repeats} repeats of {batch_size} images at {len(missing)} points")
    sampling, images = networks.sampling, range(batch_size)
    calls = [partial(sample_images, point.plan, sampling, images, networks.device) for point in missing]
    for point, latency in zip(missing, measure_latency(calls, repeats, networks.device), strict=True):
        per_image = latency.per_image(batch_size)
        write_json(point.run.directory / LATENCY, {"run_id": point.run.id, **settings, **per_image})


def _compare_with_large(points: Sequence[SweepPoint], networks: Networks) -> dict[str, dict]:
    """Whether points are worse than the one of the large model alone with their noise, scale and sampler; by run id."""
    compared: dict[str, dict] = {}
    for large in points:
        if large.plan.fractions[-1] != 1 or large.plan.evaluation["bootstrap"] == 0:
            continue
        expected = {"against": large.run.id, **{key: large.plan.evaluation[key] for key in COMPARED_BY}}
        group = [
            point
            for point in points
            if (point.plan.scales, point.plan.sampler) == (large.plan.scales, large.plan.sampler) and point is not large
        ]
        missing = [p for p in group if not holds(p.run.directory / PAIRED, run_id=p.run.id, **expected)]
        if missing:
            _compare(large, missing, expected, networks)
        for point in group:
            content = read_json(point.run.directory / PAIRED)
            compared[point.run.id] = {key: content[key] for key in ("value", "std", "interval95", "verdict")}
    return compared


def _compare(large: SweepPoint, group: Sequence[SweepPoint], expected: dict, networks: Networks) -> None:
    """Write the differences of FID from the large model's, with a verdict, beside the points."""
    evaluation = networks.evaluation
    points = (large, *group)
    counter = Counter("points compared", quiet=not networks.ranks.is_main)
    sets = (evaluation.features(open_source(point.run.directory), networks.ranks).pool for point in points)
    fids = fid_spread(sets, evaluation.reference.pool, lambda done: counter(done, len(points)))
    for k, point in enumerate(group, start=1):
        names = (show_fractions(large.plan.fractions), show_fractions(point.plan.fractions))
        difference = fids.difference(0, k)
        verdict = describe_difference(names, float(fids.values[0]), difference)
        found = {"run_id": point.run.id, **expected, **difference.as_dict(), "verdict": verdict}
        write_json(point.run.directory / PAIRED, found)


def _collect(point: SweepPoint, paired: dict | None, out: Path) -> Point:
    """A finished point with the metrics that were asked for; its directory may hold more, for other sweeps."""
    directory, asked = point.run.directory, point.plan.evaluation["metrics"]
    result, latency = read_json(directory / RESULT), read_json(directory / LATENCY)
    del latency["run_id"]
    metrics, spread = (
        {name: value for name, value in result[key].items() if any(is_metric(name, metric) for metric in asked)}
        for key in ("metrics", "spread")
    )
    return Point(
        **point.planned.asked,
        allocation=list(point.plan.allocation),
        metrics=metrics,
        latency=latency,
        spread=spread,
        paired=paired,
        run=Path(os.path.relpath(directory, out)).as_posix(),
    )


def _shared_protocol(points: Sequence[SweepPoint]) -> dict:
    """What the protocols of all points agree on; a sampler or its steps only where they were not swept."""
    protocols = [read_json(point.run.directory / RESULT)["protocol"] for point in points]
    first = protocols[0]
    shared = {
        key: value
        for key, value in first.items()
        if key not in OF_A_POINT and all(protocol.get(key) == value for protocol in protocols)
    }
    devices = dict.fromkeys(protocol["device_name"] for protocol in protocols)
    denoisers = {name: digest for protocol in protocols for name, digest in protocol["denoisers"].items()}
    return {
        **shared,
        "device_name": " and ".join(devices),
        "denoisers": denoisers,
        "guidance_channels": points[0].plan.channels or "all",
    }
