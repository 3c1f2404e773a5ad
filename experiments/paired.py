"""Points of finished sweeps with the FID of all on one noise, for pages that hold them against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from evaluation.metrics.features import FeatureSet
from evaluation.metrics.influence import FIDSpread, fid_spread
from evaluation.metrics.sources import Source, open_source
from evaluation.records import read_record
from evaluation.report.front import are_comparable
from evaluation.report.model_fronts import Scored
from evaluation.report.sweep import Sweep, read_sweep
from experiments.evaluation import load_evaluation
from experiments.scored import RESULT, CompleteResult
from tstitch.errors import UserError
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks

AGREES = 1e-3  # relative: FID of one set from kept features, by the same evaluation


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
    read = FeaturesOfSweeps(sweeps, ranks, device)
    fids = fid_spread((features.pool for _, features in read), read.evaluation.reference.pool)
    read.check(fids)
    placed = [(point, sweep.protocol["pair"]) for _, sweep in sweeps for point in sweep.points]
    return Scored([point for point, _ in placed], fids, [pair for _, pair in placed])


class FeaturesOfSweeps:
    """The images of all points of finished sweeps with their features, which lie beside them; one point at a time."""

    def __init__(self, sweeps: Sequence[tuple[Path, Sweep]], ranks: Ranks, device: torch.device):
        self.points = [point for _, sweep in sweeps for point in sweep.points]
        self.runs = [place / point.run for place, sweep in sweeps for point in sweep.points]
        self.ranks = ranks
        settings, _ = read_record(self.runs[0] / RESULT, CompleteResult, "the sweep's command makes it anew")
        if "fid" not in settings["asked"]["metrics"]:
            raise UserError(f"{self.runs[0] / RESULT} has no FID; the sweep's command makes it anew")
        self.evaluation = load_evaluation(settings["asked"], device, ranks)

    def __iter__(self) -> Iterator[tuple[Source, FeatureSet]]:
        counter = Counter("points", quiet=not self.ranks.is_main)
        for done, run in enumerate(self.runs, 1):
            source = open_source(run)
            yield source, self.evaluation.features(source, self.ranks)
            counter(done, len(self.runs))

    def check(self, fids: FIDSpread) -> None:
        """Refuse FIDs that are not those that the sweep had."""
        for run, point, fid in zip(self.runs, self.points, fids.values, strict=True):
            if abs(fid - point.metric("fid")) > AGREES * point.metric("fid"):
                raise UserError(
                    f"{run} has FID {fid:.4g} as it would be scored now, and {point.metric('fid'):.4g} in the sweep; "
                    "the sweep's command scores it anew"
                )
