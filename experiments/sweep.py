"""From planned points to a finished sweep: run, time, compare, put together."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation.metrics.evaluate import made_by
from evaluation.metrics.image_distance import image_distance
from evaluation.metrics.metric_names import DISTANCES, is_metric
from evaluation.report.render import comma_separated
from evaluation.report.results import results_table
from evaluation.report.sweep import Asked, Point, Sweep, write_sweep
from experiments.axes import AXES, PlannedPoint
from experiments.compare import compare_runs
from experiments.dashboard import Dashboard
from experiments.mix import measured_mix
from experiments.point_latency import latency_key, measure_missing, read_latency
from experiments.points import Networks, SweepPoint, open_scoring, point_run, run_points
from experiments.scored import PAIRED, RESULT, Scoring, holds, images_digest
from models.checkout import ROOT
from sampling.job import RunPlan
from settings.sweep import SweepSettings
from settings.sweep_prompts import PromptSweepSettings
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.mapped_arrays import map_array
from tstitch.runs.outputs import check_output
from tstitch.runs.ranks import joined_ranks
from tstitch.runs.run import Run, check_run, differing_keys, identity_hash, locked
from tstitch.runs.shards import IMAGES, write_atomically

AnySweep = SweepSettings | PromptSweepSettings
POINTS, TUNING = "points", "tuning"
SETTINGS = "settings/sweep.json"  # beside the list of points that torchrun is given
OF_PAIR = ("value", "std", "interval95", "verdict", "distance")
BESIDE = ("sweep.csv", "curve.png", "curve.svg", "strip.png")  # what a sweep writes beside `sweep.json`
OF_A_POINT = ("allocation", "guidance", "denoisers")
OF_PLACE = ("out", "points", "wandb", "dry_run", "tflops")


@dataclass(frozen=True)
class Swept:
    """A sweep's directory, its result (None where every point failed), the points' runs, and what failed."""

    directory: Path
    sweep: Sweep | None
    runs: list[Run]
    failed: list[str]


def sweep_points(
    planned: Sequence[PlannedPoint],
    settings: AnySweep,
    overrides: Sequence[str],
    device: torch.device,
    may_replace: bool = False,
) -> Swept:
    """Run the points that are missing, time them in one shuffled session, and write `sweep.json` and `sweep.csv`.

    Args:
        overrides: of `scripts.sweep`, which the settings were composed from; they are kept in `sweep.json`.
        may_replace: an earlier sweep in the directory, of other settings.

    Raises:
        UserError: the directory holds something else, or scoring lacks what it needs.
    """
    out = Path(settings.out) if settings.out is not None else default_directory(settings)
    points = [point_run(point, points_directory(settings), device) for point in planned]
    for point in points:
        check_run(point.run)
    check_directory(out, settings, may_replace)

    def latency_of(point: SweepPoint) -> dict | None:
        return read_latency(point.run, latency_key(point.plan, settings.latency.as_dict(), device))

    dashboard = Dashboard(settings.wandb, out, latency_of)
    with joined_ranks() as ranks, locked(out):
        if ranks.world_size > 1:
            raise UserError("a sweep starts without torchrun; ranks=N runs its points under torchrun")
        networks = Networks([point.plan for point in points], ranks, device)
        open_scoring(points, networks, settings.ranks is not None)
        (out / SETTINGS).parent.mkdir(exist_ok=True)
        write_json(out / SETTINGS, shared_settings(settings))
        failures: dict[int, str] = {}
        for number, reason in run_points(points, networks, settings.ranks, out, settings.process_per_point):
            if reason is None:
                dashboard.log_result(points[number])
            else:
                failures[number] = reason
        done = [point for number, point in enumerate(points) if number not in failures]
        failed = [f"{points[number].plan.describe()}: {reason}" for number, reason in failures.items()]
        if not done:
            return Swept(out, None, [], failed)
        _measure_missing_latencies(done, networks, settings.latency.as_dict())
        compared = _compare_with_large(done, networks, whatever_scale=getattr(settings, "tune", None) is not None)
        collected = [_collect(point, compared.get(point.run.id), latency_of(point), out) for point in done]
        sweep = Sweep(collected, _shared_protocol(done), kept_overrides(overrides))
        write_sweep(sweep, out)
        write_atomically(out / "sweep.csv", comma_separated(results_table(sweep)).encode())
        dashboard.log_sweep(sweep, done)
    return Swept(out, sweep, [point.run for point in done], failed)


def describe_point(point: Point) -> str:
    """Describe what was measured at a point in a line, and in another whether it is worse than the large model."""
    metrics = "  ".join(f"{name} {value:.3f}" for name, value in point.metrics.items())
    series = f"{point.sampler} {point.num_steps} steps {point.shown('order')}"
    place = f"fractions {point.label}  {series}  scale {point.shown('guidance_scale')}"
    verdict = "" if point.paired is None else f"\n    {point.paired['verdict']}"
    return f"{place}  {metrics}  {1000 * point.seconds_per_image:.2f} ms per image{verdict}"


def points_directory(settings: AnySweep) -> Path:
    """Return the directory of the points' runs: shared by all sweeps unless they have a directory of their own."""
    if settings.points is not None:
        return Path(settings.points)
    return (ROOT / "runs" if settings.out is None else Path(settings.out)) / POINTS


def planned_places(planned: Sequence[PlannedPoint], settings: AnySweep, device: torch.device) -> list[str | None]:
    """Return where the points' runs lie or will lie; None where weights are missing, which decide it too."""
    directory = points_directory(settings)
    return [
        None if point.plan.missing_weights else str(point_run(point, directory, device).run.directory)
        for point in planned
    ]


def shared_settings(settings: AnySweep) -> dict:
    """Everything but the axes and what decides no result, so that a fraction more continues the same sweep."""
    ignored = {
        *AXES,
        *OF_PLACE,
        "also",
        "router",
        "match",
        "tune",
        "ranks",
        "process_per_point",
        "latency",
        "residency",
    }
    return {key: value for key, value in settings.as_dict().items() if key not in ignored}


def check_directory(out: Path, settings: AnySweep, may_replace: bool) -> None:
    """Raise `UserError` where a directory holds something else than this sweep, or more metrics than it asks for."""
    beside = () if (out / POINTS).is_dir() else [out / name for name in BESIDE]
    check_output(out / "sweep.json", "a sweep", beside=beside)
    if not out.is_dir():
        return
    is_ours = any((out / name).exists() for name in ("sweep.json", SETTINGS, POINTS, TUNING))
    if not is_ours and any(path.name[0] != "." for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no sweep; give another out=")
    if may_replace or not (out / SETTINGS).is_file():
        return
    there, here = read_json(out / SETTINGS), json.loads(json.dumps(shared_settings(settings)))
    fewer = set(_metrics(there)) - set(_metrics(here))
    for shared in (there, here):
        _evaluation(shared).pop("metrics", None)
    different = differing_keys(there, here)
    if fewer:
        different.append(f"metrics ({', '.join(sorted(fewer))} there, not here)")
    if different:
        raise UserError(f"{out} holds another sweep; it differs in {', '.join(different)}; give another out=")


def _evaluation(shared: dict) -> dict:
    return shared.get("pair", shared).get("evaluation", {})


def _metrics(shared: dict) -> list[str]:
    return _evaluation(shared).get("metrics", [])


def default_directory(settings: AnySweep) -> Path:
    """Named after what the points share."""
    has_prompts = isinstance(settings, PromptSweepSettings)
    name = f"prompts-{Path(settings.large).name}" if has_prompts else settings.pair.name
    return ROOT / "runs" / f"sweep-{name}-{identity_hash(shared_settings(settings))}"


def kept_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say where files lie or what is reported, which decide nothing that is measured."""
    return [own for own in overrides if own.lstrip("+~").partition("=")[0].partition(".")[0] not in OF_PLACE]


def _measure_missing_latencies(points: Sequence[SweepPoint], networks: Networks, settings: dict) -> None:
    """Measure the points that have no latency of this machine with these settings yet."""
    device = networks.device
    missing = [p for p in points if read_latency(p.run, latency_key(p.plan, settings, device)) is None]
    if missing:
        measure_missing([(point.plan, point.run) for point in missing], networks.jobs, settings, device)


def _compare_with_large(points: Sequence[SweepPoint], networks: Networks, whatever_scale: bool) -> dict[str, dict]:
    """Compare points with that of the large model alone with their noise, scale and sampler; results by run id.

    Only where FID was asked for, since it is FID that is compared.

    Args:
        whatever_scale: each point has a guidance scale of its own, and so has the large model.
    """
    compared: dict[str, dict] = {}
    evaluation = points[0].plan.evaluation
    if not evaluation["bootstrap"] or not set(DISTANCES) & set(evaluation["metrics"]):
        return compared
    for large in points:
        if large.plan.fractions is None or large.plan.fractions[-1] != 1:
            continue
        alike = [point for point in points if _begins_as(point.plan, large.plan, whatever_scale)]
        group = [point for point in alike if point is not large]
        expected = {point.run.id: _expected(point.run, large.run, networks.scoring) for point in group}
        missing = [p for p in group if not holds(p.run.directory / PAIRED, **expected[p.run.id])]
        if missing:
            _compare(large, missing, expected, networks)
        for point in group:
            content = read_json(point.run.directory / PAIRED)
            compared[point.run.id] = {key: content[key] for key in OF_PAIR}
    return compared


def _begins_as(plan: RunPlan, large: RunPlan, whatever_scale: bool) -> bool:
    """Tell whether a plan has the sampler of the large model alone, and its scale in the large model's steps."""
    (own_scale, own_sampler), (scale, sampler) = plan.settings_of_large, large.settings_of_large
    return own_sampler == sampler and (whatever_scale or own_scale == scale)


def _expected(run: Run, large: Run, scoring: Scoring) -> dict:
    """List what a comparison of two runs depends on: their images, and what they are scored with."""
    return {
        "run_id": run.id,
        "images_sha256": images_digest(run),
        "against": large.id,
        "against_images_sha256": images_digest(large),
        "scoring": scoring.protocol,
    }


def _compare(large: SweepPoint, group: Sequence[SweepPoint], expected: dict[str, dict], networks: Networks) -> None:
    """Write the differences of FID from the large model's, with a verdict, beside the points."""
    runs = [(point.plan.title, point.run.directory) for point in (large, *group)]
    differences = compare_runs(runs, networks.evaluation, networks.ranks, quiet=not networks.ranks.is_main)
    wanted = map_array(large.run.samples, IMAGES)
    for point, difference in zip(group, differences, strict=True):
        distance = image_distance(map_array(point.run.samples, IMAGES), wanted)
        content = {**expected[point.run.id], **difference.as_dict(), "distance": distance}
        write_json(point.run.directory / PAIRED, content)


def _collect(point: SweepPoint, paired: dict | None, latency: dict, out: Path) -> Point:
    """A finished point with the metrics that were asked for; its directory may hold more, for other sweeps."""
    directory, wanted = point.run.directory, point.plan.evaluation["metrics"]
    result = read_json(directory / RESULT) if wanted else {"metrics": {}, "spread": {}}
    metrics, spread = (
        {name: value for name, value in result[key].items() if any(is_metric(name, metric) for metric in wanted)}
        for key in ("metrics", "spread")
    )
    place = {**point.planned.place, **measured_mix(point.plan, point.run)}
    return Point(
        **{**place, "asked": [Asked(**asked) for asked in place["asked"]]},
        allocation=list(point.plan.allocation or ()),
        metrics=metrics,
        latency=latency,
        spread=spread,
        paired=paired,
        run=Path(os.path.relpath(directory, out)).as_posix(),
    )


def _shared_protocol(points: Sequence[SweepPoint]) -> dict:
    """Collect what the protocols of all points agree on; a sampler or its steps only where they were not swept."""
    protocols = [
        read_json(point.run.directory / RESULT)["protocol"] if point.plan.evaluation["metrics"] else made_by(point.run)
        for point in points
    ]
    first = protocols[0]
    shared = {
        key: value
        for key, value in first.items()
        if key not in OF_A_POINT and all(protocol.get(key) == value for protocol in protocols)
    }
    devices = dict.fromkeys(protocol["device_name"] for protocol in protocols)
    described = {"pair": " to ".join(points[0].plan.names), **shared, "device_name": " and ".join(devices)}
    if "denoisers" in first:
        used = {name: file for protocol in protocols for name, file in protocol["denoisers"].items()}
        denoisers = {name: used[name] for name in points[0].plan.names if name in used}
        described |= {"denoisers": denoisers, "guidance_channels": first["guidance"]["channels"]}
    return described
