"""Sweep fractions (and guidance scales) of a pair: every point has the same noise and labels.

python -m scripts.sweep pair=digits_dit_s_xl 'fractions=[0,0.4,1]' num_images=1000 out=DIR
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from scripts.cli import ROOT, resolved, run_command

if TYPE_CHECKING:
    import torch

    from evaluation.sweep import Point, Sweep
    from models.pair import Pair
    from scripts.evaluation import Evaluation
    from scripts.plan import Plan
    from tstitch.ranks import Ranks
    from tstitch.run import Run


@dataclass(frozen=True)
class PlannedPoint:
    """A point before it runs: the fractions that were asked for, and their plan."""

    fractions: list[float]
    plan: Plan


def main(config: DictConfig) -> None:
    from evaluation.plots import plot_curve, plot_strip
    from evaluation.sources import open_source
    from evaluation.sweep import write_sweep
    from models.compiled import compile_pair
    from models.pair import load_pair
    from scripts.cost import describe_cost, make_estimate, missing_weights
    from scripts.evaluation import load_evaluation
    from scripts.generating import plan_run, sample_run
    from scripts.plan import DTYPES
    from tstitch.ranks import choose_device, joined_ranks
    from tstitch.run import check_run, identity_hash, locked, write_json

    settings = resolved(config)
    planned = plan_points(settings)
    plans = [point.plan for point in planned]
    if settings["dry_run"]:
        device = choose_device(settings["device"], local_rank=0)
        estimate = make_estimate(plans, device, settings["tflops"])
        for number, plan in enumerate(plans, start=1):
            print(f"[{number}/{len(plans)}]", "\n    ".join(describe_cost(plan, None, device, estimate)))
        print("\n".join(missing_weights(plans)))
        return
    with joined_ranks() as ranks:
        device = choose_device(settings["device"], ranks.local_rank)
        identities = [plan.identity(device.type) for plan in plans]
        default = ROOT / "runs" / f"sweep-{plans[0].pair}-{identity_hash({'points': identities})}"
        out = Path(settings["out"]) if settings["out"] is not None else default
        runs = [plan_run(plan, str(out / "points" / plan.directory_name()), device) for plan in plans]
        for run in runs:
            check_run(run)
        evaluation = load_evaluation(plans[0].evaluation, device)
        with locked(out) if ranks.is_main else nullcontext():
            used = {index for plan in plans for index in plan.used}
            pair = load_pair(plans[0].specs, used, plans[0].autoencoder, DTYPES[plans[0].precision], device)
            compile_pair(pair, plans[0].compile, device)
            for number, (plan, run) in enumerate(zip(plans, runs, strict=True), start=1):
                if ranks.is_main:
                    print(f"[{number}/{len(plans)}] {plan.describe()}")
                sample_run(plan, run, pair, ranks, device)
                if not _is_done(run, "result.json", run_id=run.id):
                    result = evaluation.result(open_source(run.directory), ranks)
                    if ranks.is_main:
                        write_json(run.directory / "result.json", result)
            if not ranks.is_main:
                return
            measure_missing_latencies(plans, runs, pair, device, settings["latency"])
            paired = compare_with_large(plans, runs, evaluation, ranks)
    sweep = collect(planned, runs, paired)
    write_sweep(sweep, out)
    plot_curve(sweep, out / "curve.png")
    first_scale = sweep.guidance_scales[0]
    columns = [(p, run) for p, run in zip(sweep.points, runs, strict=True) if p.guidance_scale == first_scale]
    plot_strip(columns, out / "strip.png")
    for point in sweep.points:
        _show(point)
    print(out / "sweep.json")


def plan_points(settings: dict) -> list[PlannedPoint]:
    """One point for each guidance scale and fraction, in this order; all are checked before any runs."""
    from scripts.plan import check_whole_number, make_plan
    from tstitch.errors import UserError

    fractions, scales = settings["fractions"], settings["guidance_scales"]
    if not isinstance(fractions, list) or not fractions:
        raise UserError(f"fractions must be a list of numbers, or of lists, got {fractions!r}")
    if scales is not None and (not isinstance(scales, list) or not scales):
        raise UserError(f"guidance_scales must be a list of numbers, or null, got {scales!r}")
    for key, value in settings["latency"].items():
        check_whole_number(f"latency.{key}", value, lowest=1)
    planned = []
    for scale in scales or [settings["guidance"]["scale"]]:
        for fraction in fractions:
            if isinstance(fraction, bool) or not isinstance(fraction, int | float | list):
                raise UserError(f"fractions must be a list of numbers, or of lists, got {fraction!r} in it")
            # A single number is the share of the small model of a pair of two.
            values = fraction if isinstance(fraction, list) else [fraction, round(1 - fraction, 9)]
            stitch = {**settings["stitch"], "fractions": values}
            guidance = {**settings["guidance"], "scale": scale}
            planned.append(PlannedPoint(values, make_plan({**settings, "stitch": stitch, "guidance": guidance})))
    return planned


def measure_missing_latencies(
    plans: list[Plan], runs: list[Run], pair: Pair, device: torch.device, settings: dict
) -> None:
    """Measure the points that have no latency with these settings yet, in one shuffled session."""
    from evaluation.latency import measure_latency
    from scripts.sampling import sample_images
    from tstitch.run import write_json

    missing = [i for i, run in enumerate(runs) if not _is_done(run, "latency.json", run_id=run.id, **settings)]
    if not missing:
        return
    batch_size, repeats = settings["batch_size"], settings["repeats"]
    print(f"latency: {repeats} repeats of {batch_size} images at {len(missing)} points")
    calls = [partial(sample_images, plans[i], pair, range(batch_size), device) for i in missing]
    for i, latency in zip(missing, measure_latency(calls, repeats), strict=True):
        per_image = latency.per_image(batch_size)
        write_json(runs[i].directory / "latency.json", {"run_id": runs[i].id, **settings, **per_image})


def compare_with_large(plans: list[Plan], runs: list[Run], evaluation: Evaluation, ranks: Ranks) -> list[dict | None]:
    """For each point that shares noise and scale with one of the large model alone: is it worse?"""
    from evaluation.sources import open_source
    from evaluation.spread import bootstrap_fid, describe_difference

    found: list[dict | None] = [None] * len(plans)
    if evaluation.num_draws == 0:
        return found
    for large, plan in enumerate(plans):
        if plan.fractions[-1] != 1:
            continue
        group = [large, *(i for i, p in enumerate(plans) if p.scales == plan.scales and i != large)]
        sets = [evaluation.features(open_source(runs[i].directory), ranks).pool for i in group]
        bootstrap = bootstrap_fid(sets, evaluation.reference.pool, evaluation.num_draws)
        for k, i in enumerate(group[1:], start=1):
            names = tuple("/".join(f"{fraction:g}" for fraction in plans[j].fractions) for j in (large, i))
            difference = bootstrap.difference(0, k)
            verdict = describe_difference(names, float(bootstrap.values[0]), difference)
            found[i] = {**difference.as_dict(), "verdict": verdict}
    return found


def collect(planned: list[PlannedPoint], runs: list[Run], paired: list[dict | None]) -> Sweep:
    """Put the finished points together."""
    from evaluation.sweep import Point, Sweep
    from tstitch.run import read_json

    points = []
    for point, run, difference in zip(planned, runs, paired, strict=True):
        result, latency = (read_json(run.directory / name) for name in ("result.json", "latency.json"))
        del result["run_id"], latency["run_id"]
        scales = point.plan.scales
        scale = scales[0] if len(set(scales)) == 1 else scales
        allocation = list(point.plan.allocation)
        points.append(
            Point(point.fractions, scale, allocation, result["metrics"], latency, result["spread"], difference)
        )
    per_point = ("allocation", "guidance", "denoisers")
    shared = {key: value for key, value in result["protocol"].items() if key not in per_point}
    return Sweep(points, {**shared, "guidance_channels": planned[0].plan.channels or "all"})


def _is_done(run: Run, name: str, **expected: object) -> bool:
    from tstitch.run import read_json

    path = run.directory / name
    return path.is_file() and expected.items() <= read_json(path).items()


def _show(point: Point) -> None:
    fractions = "/".join(f"{fraction:g}" for fraction in point.fractions)
    metrics = "  ".join(f"{name} {value:.3f}" for name, value in point.metrics.items())
    time_ms = 1000 * point.seconds_per_image
    print(f"fractions {fractions}  scale {point.guidance_scale}  {metrics}  {time_ms:.2f} ms per image")
    if point.paired is not None:
        print(f"    {point.paired['verdict']}")


if __name__ == "__main__":
    run_command("sweep", main)
