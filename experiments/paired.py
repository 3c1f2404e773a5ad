"""Points of finished sweeps with the FID of all on one noise, for pages that hold them against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.diversity import class_diversity
from evaluation.metrics.influence import FIDSpread, fid_spread
from evaluation.metrics.result_file import ResultRecord
from evaluation.metrics.sources import open_source
from evaluation.records import read_record
from evaluation.report.front import are_comparable
from evaluation.report.mixtures import Mixed
from evaluation.report.model_fronts import Scored
from evaluation.report.sweep import Sweep, read_sweep
from experiments.evaluation import load_evaluation
from experiments.scored import RESULT
from tstitch.errors import UserError
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks


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
    fids, _ = _score(sweeps, ranks, device)
    placed = [(point, sweep.protocol["pair"]) for _, sweep in sweeps for point in sweep.points]
    return Scored([point for point, _ in placed], fids, [pair for _, pair in placed])


def _gather(place: Path, ranks: Ranks, device: torch.device) -> Mixed:
    sweep = read_sweep(place)
    if any(len(point.fractions) != 2 or point.metric("fid") is None for point in sweep.points):
        raise UserError(f"{place} needs FID at every point, of two models")
    return Mixed(sweep.protocol["pair"], sweep.points, *_score([(place, sweep)], ranks, device))


def _score(sweeps: Sequence[tuple[Path, Sweep]], ranks: Ranks, device: torch.device) -> tuple[FIDSpread, list[float]]:
    """Score all points from their features, which lie beside the images; and the diversity of each."""
    runs = [place / point.run for place, sweep in sweeps for point in sweep.points]
    settings, _ = read_record(runs[0] / RESULT, ResultRecord, "the sweep's command makes it anew")
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

    return fid_spread(pools(), evaluation.reference.pool), diversity
