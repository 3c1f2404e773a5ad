"""The guidance scale of each point of a sweep, chosen on images of another seed than those of the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from experiments.axes import PlannedPoint, plan_points
from experiments.sweep import TUNING, check_directory, default_directory, sweep_points
from sampling.jobs import plan_run
from settings.sweep import SweepSettings
from tstitch.errors import UserError

OF_A_POINT = ("num_steps", "order", "rule", "router", "knob")  # of what asked for it; with its sampler and fractions


def tune_guidance(settings: SweepSettings, device: torch.device) -> list[PlannedPoint]:
    """Plan the points of a sweep, each at the scale of `tune.guidance_scales` that gave it the least FID.

    The images that this is chosen on are in `OUT/tuning`, a sweep of its own; what is there is not made again.

    Raises:
        UserError: a point of that sweep failed, or has no FID.
    """
    tune = settings.tune
    out = Path(settings.out) if settings.out is not None else default_directory(settings)
    check_directory(out, settings, may_replace=False)
    own = settings.changed(
        guidance_scales=tune.guidance_scales, num_images=tune.num_images, seed=tune.seed, tune=None,
        out=str(out / TUNING), latency={"repeats": 1},
    )  # fmt: skip
    tuned = plan_points(own)
    swept = sweep_points(tuned, own, [], device, may_replace=True)
    if swept.failed:
        raise UserError(f"the guidance scale cannot be chosen, since a point failed: {swept.failed[0]}")
    best: dict[tuple, tuple[float, object]] = {}
    for planned, point in zip(tuned, swept.sweep.points, strict=True):
        if point.distance is None:
            raise UserError("tune chooses by FID; give pair.evaluation.metrics=[fid,...]")
        for asked in planned.asked:
            key, scored = _key(planned, asked), (point.distance, asked["guidance_scale"])
            best[key] = min(best.get(key, scored), scored, key=lambda own: own[0])
    return [_at_scale(point, best) for point in plan_points(settings)]


def _at_scale(planned: PlannedPoint, best: dict[tuple, tuple[float, object]]) -> PlannedPoint:
    _, scale = best[_key(planned, planned.asked[0])]
    settings = planned.settings.changed(guidance={"scale": scale})
    asked = tuple({**asked, "guidance_scale": scale} for asked in planned.asked)
    return replace(planned, settings=settings, plan=plan_run(settings), asked=asked)


def _key(planned: PlannedPoint, asked: dict) -> tuple:
    return planned.plan.sampler_name, *asked["fractions"], *(asked[key] for key in OF_A_POINT)
