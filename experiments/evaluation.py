"""An evaluation from its settings: what is loaded, checked, extracted and scored. Shared by evaluate and sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from evaluation.metrics.clip_score import CLIP_SCORE, load_clip
from evaluation.metrics.evaluate import (
    FEATURE_METRICS,
    check_enough,
    check_metrics,
    check_names,
    check_side,
    protocol,
    score,
)
from evaluation.metrics.extractors import Extractor, load_extractor
from evaluation.metrics.features import FeatureCache, FeatureSet, gather_features
from evaluation.metrics.reference import Reference, load_reference, with_statistics
from evaluation.metrics.sources import Source, open_source
from experiments.alignment import Alignment, check_aligned, check_draws
from experiments.scored import images_digest
from models.checkout import ROOT, resolve_path
from models.weights.catalog import explain_missing, is_published
from tstitch.errors import UserError
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks

ALONE = Ranks(0, 1, 0, 1)
CACHE = ROOT / "runs" / "features"
SETTINGS = ("extractor", "extractor_weights", "reference", "metrics", "bootstrap", "batch_size")
ALIASES = {"inception": "inception-v3-compat"}


@dataclass(frozen=True)
class Evaluation:
    """A loaded evaluation: it scores any number of sources against one reference."""

    metrics: list[str]
    num_draws: int
    batch_size: int
    extractor: Extractor | None  # None, as the reference, where the CLIP score alone is asked for
    reference: Reference | None
    alignment: Alignment | None  # None where the CLIP score is not asked for
    settings: dict

    def features(
        self, source: Source, ranks: Ranks, show: Callable[[int, int], None] = lambda done, total: None
    ) -> FeatureSet:
        """Features of a source, kept in its run's directory, or under `runs/features`."""
        return _features(source, self.extractor, ranks, "sfid" in self.metrics, self.batch_size, show)

    def check(self, side: tuple[int, int] | None, num_images: int, place: object) -> None:
        """Raise `UserError` for what can be seen to fail without an image.

        Args:
            side: height and width of the images, None where they are not known yet.
            num_images: how many there are or will be.
            place: where the images are or will be.
        """
        metrics = [name for name in self.metrics if name != CLIP_SCORE]
        if not metrics:
            return
        check_metrics(metrics, self.extractor, self.reference)
        check_enough(metrics, num_images, place)
        if side is not None:
            check_side(self.reference, side, place)

    def result(
        self,
        source: Source,
        ranks: Ranks,
        show: Callable[[int, int], None] = lambda done, total: None,
        against: Source | None = None,
    ) -> dict | None:
        """The content of `result.json` for a source, on rank 0; None on the others.

        `run_id` and `images_sha256` are of the run, `asked` are the settings of the evaluation.

        Args:
            against: another run of prompts, for the difference of their CLIP scores.
        """
        metrics = [name for name in self.metrics if name != CLIP_SCORE]
        if CLIP_SCORE in self.metrics:
            check_aligned(source, against)
        result = self._image_result(metrics, source, ranks, show) if metrics else {}
        if not ranks.is_main:
            return None
        if CLIP_SCORE in self.metrics:
            aligned = self.alignment.result(source, against)
            joined = {key: {**result.get(key, {}), **aligned[key]} for key in ("metrics", "spread", "protocol")}
            result = {**aligned, **joined}
        return {**result, "asked": {**self.settings, "metrics": self.metrics}}

    def _image_result(
        self, metrics: list[str], source: Source, ranks: Ranks, show: Callable[[int, int], None]
    ) -> dict | None:
        """The part of the metrics over an extractor's features."""
        self.check(source.side, source.num, source.path)
        features = self.features(source, ranks, show)
        reference_features = self.reference.features
        if reference_features is None and set(metrics) & set(FEATURE_METRICS):
            reference_features = self.features(open_source(self.reference.path), ranks, show).pool
        if not ranks.is_main:
            return None
        scores = score(source, features, self.reference, reference_features, metrics, self.num_draws)
        return {
            "run_id": source.run.id if source.run is not None else None,
            "images_sha256": images_digest(source.run) if source.run is not None else None,
            "metrics": scores.metrics,
            "spread": scores.spread,
            "protocol": protocol(source, self.extractor, self.reference, self.num_draws),
        }


def load_evaluation(settings: dict, device: torch.device, ranks: Ranks = ALONE) -> Evaluation:
    """Load the reference, the extractor and CLIP, as far as the metrics need them; the cheap checks come first.

    Statistics that a reference lacks are computed from its images, whose features are kept under `runs/features`.

    Args:
        ranks: the processes that share out the images; all of them call this.
    """
    metrics, name = settings["metrics"], settings["extractor"]
    asked = {key: settings[key] for key in SETTINGS}
    alignment = None
    if CLIP_SCORE in metrics:
        asked |= {"clip": settings["clip"]}
        draws = check_draws(settings["bootstrap"])
        alignment = Alignment(load_clip(resolve_path(settings["clip"]), device), draws, settings["batch_size"])
    num_draws, batch_size = settings["bootstrap"], settings["batch_size"]
    if set(metrics) == {CLIP_SCORE}:
        return Evaluation(metrics, num_draws, batch_size, None, None, alignment, asked)
    weights, reference_path = resolve_path(settings["extractor_weights"]), resolve_path(settings["reference"])
    missing = [path for path in (weights, reference_path) if not path.is_file()]
    if any(is_published(path) for path in missing):
        raise UserError(explain_missing(missing))
    reference = load_reference(reference_path)
    extractor = load_extractor(extractor_name(name), weights, device)
    check_names([name for name in metrics if name != CLIP_SCORE], extractor)
    with_spatial = "sfid" in metrics and extractor.has_spatial
    if reference.has_images and (reference.pool is None or (with_spatial and reference.spatial is None)):
        show = Counter("images of the reference", quiet=not ranks.is_main)
        images = open_source(reference.path)
        features = _features(images, extractor, ranks, with_spatial, batch_size, show)
        reference = with_statistics(reference, features)
    return Evaluation(metrics, num_draws, batch_size, extractor, reference, alignment, asked)


def extractor_name(name: str) -> str:
    """An extractor's full name, for a short one."""
    return ALIASES.get(name, name)


def _features(
    source: Source,
    extractor: Extractor,
    ranks: Ranks,
    with_spatial: bool,
    batch_size: int,
    show: Callable[[int, int], None],
) -> FeatureSet:
    cache = FeatureCache(CACHE if source.run is None else source.path / "features", extractor)
    return gather_features(source, extractor, cache, ranks, with_spatial, batch_size, show)
