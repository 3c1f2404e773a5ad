"""Points of finished sweeps with the FID of all on one noise, for pages that hold them against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.diversity import class_diversity
from evaluation.metrics.influence import FIDSpread, fid_spread
from evaluation.metrics.sources import open_source
from evaluation.records import read_record
from evaluation.report.front import are_comparable
from evaluation.report.mixtures import Mixed
from evaluation.report.model_fronts import Scored
from evaluation.report.sweep import Point, Sweep, read_sweep
from experiments.evaluation import load_evaluation
from experiments.scored import RESULT, CompleteResult
from tstitch.errors import UserError
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks

AGREES = 1e-3  # relative: FID of one set from kept features, by the same evaluation


def gather_mixtures(places: Sequence[Path], ranks: Ranks, device: torch.device) -> list[Mixed]:
    """Read sweeps of two models, each with the FID of its points.

    Raises:
        UserError: a sweep is of more than two models or without FID, or a point's images are gone.
    """
    return [_gather(place, ranks, device) for place in places]


def gather_scored(places: Sequence[Path], ranks: Ranks, device: torch.device) -> Scored:
    """Read sweeps of one noise, with the FID of all their points together.

    Raises:
        UserError: the sweeps have other noise, evaluations or machines, or a point's images are gone.
    """
    sweeps = [(place, read_sweep(place)) for place in places]
    if not are_comparable([sweep for _, sweep in sweeps]):
        raise UserError("the sweeps need FID at every point, and the same noise, evaluation and machine")
    if sweeps[0][1].points[0].metric("fid") is None:
        raise UserError("the sweeps need FID at every point")
    fids, _ = _score(sweeps, ranks, device)
    placed = [(point, sweep.protocol["pair"]) for _, sweep in sweeps for point in sweep.points]
    return Scored([point for point, _ in placed], fids, [pair for _, pair in placed])


def _gather(place: Path, ranks: Ranks, device: torch.device) -> Mixed:
    sweep = read_sweep(place)
    if any(len(point.fractions) != 2 or point.metric("fid") is None for point in sweep.points):
        raise UserError(f"{place} needs FID at every point, of two models")
    twice = [point for point in sweep.points if sum(_place(own) == _place(point) for own in sweep.points) > 1]
    if twice:
        raise UserError(
            f"{place} has {twice[0].label} several times, with other samplers or guidance; tune= chooses one"
        )
    return Mixed(sweep.protocol["pair"], sweep.points, *_score([(place, sweep)], ranks, device))


def _place(point: Point) -> tuple:
    """The place of a point among the ways to mix: all but its sampler and guidance scale."""
    shares = point.asked[0].fractions if point.asked else point.fractions
    return point.num_steps, point.order, point.router, point.knob, tuple(shares)


def _score(sweeps: Sequence[tuple[Path, Sweep]], ranks: Ranks, device: torch.device) -> tuple[FIDSpread, list[float]]:
    """Score all points from their features, which lie beside the images; and the diversity of each."""
    points = [point for _, sweep in sweeps for point in sweep.points]
    runs = [place / point.run for place, sweep in sweeps for point in sweep.points]
    settings, _ = read_record(runs[0] / RESULT, CompleteResult, "the sweep's command makes it anew")
    if "fid" not in settings["asked"]["metrics"]:
        raise UserError(f"{runs[0] / RESULT} has no FID; the sweep's command makes it anew")
    evaluation = load_evaluation(settings["asked"], device, ranks)
    counter = Counter("points", quiet=not ranks.is_main)
    diversity: list[float] = []

    def pools() -> Iterator[np.ndarray]:
        for run in runs:
            source = open_source(run)
            pool = evaluation.features(source, ranks).pool
            diversity.append(class_diversity(pool, source.labels))
            counter(len(diversity), len(runs))
            yield pool

    fids = fid_spread(pools(), evaluation.reference.pool)
    for run, point, fid in zip(runs, points, fids.values, strict=True):
        if abs(fid - point.metric("fid")) > AGREES * point.metric("fid"):
            raise UserError(
                f"{run} has FID {fid:.4g} as it would be scored now, and {point.metric('fid'):.4g} in the sweep; "
                "the sweep's command scores it anew"
            )
    return fids, diversity
