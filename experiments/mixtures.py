"""Sweeps of ways to mix two models, with the FID of all their points on one noise, for a page on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from evaluation.metrics.diversity import class_diversity
from evaluation.metrics.influence import fid_spread
from evaluation.metrics.result_file import ResultRecord
from evaluation.metrics.sources import open_source
from evaluation.records import read_record
from evaluation.report.mixtures import Mixed
from evaluation.report.sweep import read_sweep
from experiments.evaluation import load_evaluation
from experiments.scored import RESULT
from tstitch.errors import UserError
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks


def gather_mixtures(places: Sequence[Path], ranks: Ranks, device: torch.device) -> list[Mixed]:
    """Read sweeps, and the features of their points, which lie beside the images.

    Raises:
        UserError: a sweep is of more than two models or without FID, or a point's images are gone.
    """
    return [_gather(place, ranks, device) for place in places]


def _gather(place: Path, ranks: Ranks, device: torch.device) -> Mixed:
    sweep = read_sweep(place)
    if any(len(point.fractions) != 2 or point.metric("fid") is None for point in sweep.points):
        raise UserError(f"{place} needs FID at every point, of two models")
    first = place / sweep.points[0].run / RESULT
    settings, _ = read_record(first, ResultRecord, "scripts.sweep makes it anew")
    evaluation = load_evaluation(settings["asked"], device, ranks)
    counter = Counter(f"points of {place}", quiet=not ranks.is_main)
    diversity = []

    def pools():
        for done, point in enumerate(sweep.points, start=1):
            source = open_source(place / point.run)
            pool = evaluation.features(source, ranks).pool
            diversity.append(class_diversity(pool, source.labels))
            yield pool
            counter(done, len(sweep.points))

    fids = fid_spread(pools(), evaluation.reference.pool)
    mixed = Mixed("", sweep.points, fids, diversity)
    return replace(mixed, name=f"{sweep.protocol['pair']}, {mixed.num_steps} steps")
