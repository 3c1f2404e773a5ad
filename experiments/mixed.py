"""Sweeps of ways to mix two models, scored by FID and by what else tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.distances import inception_score
from evaluation.metrics.diversity import class_diversity
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.halves import halves_spread, score_halves
from evaluation.metrics.image_distance import squared_distances
from evaluation.metrics.influence import fid_spread
from evaluation.metrics.manifold import ReferenceManifold
from evaluation.metrics.reference import load_reference
from evaluation.metrics.sources import Source, open_source
from evaluation.report.mixtures import (
    DIVERSITY,
    FID,
    INCEPTION_SCORE,
    LEVELS,
    PRECISION,
    RECALL,
    Mixed,
    most_common_steps,
)
from evaluation.report.sweep import Point, Sweep, read_sweep
from experiments.paired import FeaturesOfSweeps
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks


def gather_mixtures(
    places: Sequence[Path], references: Sequence[Path], ranks: Ranks, device: torch.device
) -> list[Mixed]:
    """Read sweeps of two models, each with the scores of its points.

    Args:
        references: files of `scripts.reference` with features, for precision and recall; of each extractor at most one.
            Without one, a sweep's own reference is taken if it has features.

    Raises:
        UserError: a sweep is of more than two models or without FID, a point's images are gone, or a reference has no
            features.
    """
    manifolds = _manifolds(references)
    return [_gather(place, manifolds, ranks, device) for place in places]


def _manifolds(references: Sequence[Path]) -> dict[str, ReferenceManifold]:
    manifolds: dict[str, ReferenceManifold] = {}
    for path in references:
        reference = load_reference(path)
        if reference.features is None or reference.extractor is None:
            raise UserError(f"{path} has no features; python -m scripts.reference make keeps them")
        if reference.extractor in manifolds:
            raise UserError(f"{path} is a second reference of the extractor {reference.extractor}; give one")
        manifolds[reference.extractor] = ReferenceManifold(reference.features)
    return manifolds


def _gather(place: Path, manifolds: dict[str, ReferenceManifold], ranks: Ranks, device: torch.device) -> Mixed:
    sweep = read_sweep(place)
    if any(len(point.fractions) != 2 or point.metric("fid") is None for point in sweep.points):
        raise UserError(f"{place} needs FID at every point, of two models")
    twice = [point for point in sweep.points if sum(_place(own) == _place(point) for own in sweep.points) > 1]
    if twice:
        raise UserError(
            f"{place} has {twice[0].label} several times, with other samplers or guidance; tune= chooses one"
        )
    read = FeaturesOfSweeps([(place, sweep)], ranks, device)
    own, extractor = read.evaluation.reference, read.evaluation.extractor.name
    manifold = manifolds.get(extractor)
    if manifold is None and own.features is not None:
        manifold = ReferenceManifold(own.features)
    large = _images_of_large(place, sweep)
    halves: dict[str, list[np.ndarray]] = defaultdict(list)

    def pools() -> Iterator[np.ndarray]:
        for source, features in read:
            for name, scores in _score(source, features, large, manifold).items():
                halves[name].append(scores)
            yield features.pool

    fids = fid_spread(pools(), own.pool)
    read.check(fids)
    scores = {name: halves_spread(each) for name, each in halves.items()}
    return Mixed(sweep.protocol["pair"], tuple(sweep.protocol["denoisers"]), sweep.points, {FID: fids, **scores})


def _place(point: Point) -> tuple:
    """The place of a point among the ways to mix: all but its sampler and guidance scale."""
    shares = point.asked[0].fractions if point.asked else point.fractions
    return point.num_steps, point.order, point.router, point.knob, tuple(shares)


def _images_of_large(place: Path, sweep: Sweep) -> np.ndarray | None:
    """The images (N, H, W, 3) of the large model alone with as many steps as most points have."""
    steps = most_common_steps(sweep.points)
    alone = [point for point in sweep.points if point.is_large_alone and point.num_steps == steps]
    return _images(open_source(place / alone[0].run)) if alone else None


def _images(source: Source) -> np.ndarray:
    return np.concatenate([part.load() for part in source.parts])


def _score(
    source: Source, features: FeatureSet, large: np.ndarray | None, manifold: ReferenceManifold | None
) -> dict[str, np.ndarray]:
    """Score a point's images and their halves by all but FID."""
    pool, logits, labels = features.pool, features.logits, source.labels
    metrics = {}
    if large is not None:
        distances = squared_distances(_images(source), large)
        metrics[LEVELS] = lambda rows: float(np.sqrt(distances[rows].mean()))
    metrics[DIVERSITY] = lambda rows: class_diversity(pool[rows], labels[rows])
    if logits is not None:
        metrics[INCEPTION_SCORE] = lambda rows: inception_score(logits[rows])
    if manifold is not None:
        own = manifold.of(pool)
        metrics |= {PRECISION: own.precision, RECALL: own.recall}
    return {name: score_halves(metric, len(pool)) for name, metric in metrics.items()}
