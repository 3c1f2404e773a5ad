"""Metrics of a set of images under names that carry n, with the protocol that they were measured by."""

import warnings
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from evaluation.metrics.distances import frechet_distance, inception_score
from evaluation.metrics.extractors import DINOV2, Extractor
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.influence import fid_spread
from evaluation.metrics.manifold import NEAREST, precision_recall
from evaluation.metrics.reference import Reference
from evaluation.metrics.sources import Source
from evaluation.metrics.spread import bootstrap_inception_score
from evaluation.metrics.statistics import statistics
from tstitch.errors import UserError
from tstitch.images import UINT8_RULE
from tstitch.runs.record import read_record, require_fields
from tstitch.runs.run import Run

FEATURE_METRICS = ("precision", "recall", "kid")  # these need the reference's features, not its statistics alone
METRICS = ("fid", "sfid", "inception_score", "inception_score_ten_splits", *FEATURE_METRICS, "fd_dinov2")
INCEPTION_SCORE_SPLIT, SPLITS = 5000, 10
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
SEED = 0
# To be raised when a metric's numbers change, so that sweeps score finished points anew.
METRICS_VERSION = 1


@dataclass(frozen=True)
class Scores:
    """`metrics` by name, and `spread` of those that have one."""

    metrics: dict[str, float]
    spread: dict[str, dict]


def check_names(metrics: list[str], extractor: Extractor) -> None:
    """Raise `UserError` for a metric that is unknown, or that the extractor cannot serve."""
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        dinov2 = extractor.name == DINOV2
        if dinov2 and name in ("fid", "sfid", "inception_score", "inception_score_ten_splits"):
            raise UserError(f"{name} has no meaning over {DINOV2}; use fd_dinov2, precision, recall or kid")
        if not dinov2 and name == "fd_dinov2":
            raise UserError(f"fd_dinov2 needs extractor={DINOV2}, got {extractor.name}")
    if "sfid" in metrics and not extractor.has_spatial:
        raise UserError(f"sfid needs Inception's spatial features; {extractor.name} has none")


def check_metrics(metrics: list[str], extractor: Extractor, reference: Reference) -> None:
    """Raise `UserError` for a metric that is unknown, or that the extractor or the reference cannot serve."""
    check_names(metrics, extractor)
    if "sfid" in metrics and reference.spatial is None:
        raise UserError(f"sfid needs mu_s and sigma_s, which reference {reference.path} lacks")
    needs = [name for name in metrics if name in FEATURE_METRICS]
    if needs and reference.features is None and not reference.has_images:
        raise UserError(f"{needs[0]} needs the reference's features or images, and {reference.path} has neither")
    check_enough(metrics, _num_features(reference), reference.path)
    if reference.extractor not in (None, extractor.name):
        raise UserError(f"reference {reference.path} was made with {reference.extractor}, not {extractor.name}")


def check_enough(metrics: list[str], num_images: int | None, place: object) -> None:
    """Raise `UserError` where a set has too few images for the metrics.

    Args:
        num_images: None where it is not known.
        place: where they are, for the message.
    """
    if {"precision", "recall"} & set(metrics) and num_images is not None and num_images <= NEAREST:
        raise UserError(f"precision and recall need more than {NEAREST} images in each set, {place} has {num_images}")
    if "inception_score_ten_splits" in metrics and num_images is not None and num_images < SPLITS:
        raise UserError(f"inception_score_ten_splits needs at least {SPLITS} images, {place} has {num_images}")


def check_side(reference: Reference, side: tuple[int, int], place: object) -> None:
    """Raise `UserError` where images have another size than the reference's.

    Args:
        side: height and width of the images.
        place: where they are, for the message.
    """
    if reference.side is not None and tuple(side) != reference.side:
        raise UserError(f"{place} has images of {tuple(side)} pixels, reference {reference.path} {reference.side}")


def score(
    source: Source,
    features: FeatureSet,
    reference: Reference,
    reference_features: np.ndarray | None,
    metrics: list[str],
    num_draws: int,
) -> Scores:
    """Compute `metrics` of a source's features; FID and Inception Score get their spread unless `num_draws` is 0.

    Args:
        reference_features: (M, D), for the metrics that need them.
        num_draws: bootstrap draws for the Inception Score; FID needs none.
    """
    _check_widths(source, features, reference)
    n = count_name(len(features.pool))
    scores: dict[str, float] = {}
    spread: dict[str, dict] = {}
    for name in metrics:
        if name in ("fid", "fd_dinov2"):
            key = f"fid{n}" if name == "fid" else f"fd_dinov2_{n}"
            if num_draws:
                fid = fid_spread([features.pool], reference.pool).spread(0)
                scores[key], spread[key] = fid.value, fid.as_dict()
            else:
                scores[key] = frechet_distance(statistics(features.pool), reference.pool)
        elif name == "sfid":
            scores[f"sfid{n}"] = frechet_distance(features.spatial, reference.spatial)
        elif name == "inception_score":
            logits = _unsorted(source, features.logits)
            scores[name] = inception_score(logits, INCEPTION_SCORE_SPLIT)
            if num_draws:
                spread[name] = bootstrap_inception_score(logits, INCEPTION_SCORE_SPLIT, num_draws, SEED).as_dict()
        elif name == "inception_score_ten_splits":
            isc = isc_features_to_metric(torch.from_numpy(features.logits), splits=SPLITS)
            scores[name] = isc["inception_score_mean"]
            scores[f"{name}_std"] = isc["inception_score_std"]
        elif name == "kid":
            size = min(KID_SUBSET_SIZE, len(features.pool), len(reference_features))
            kid = kid_features_to_metric(
                torch.from_numpy(features.pool), torch.from_numpy(reference_features),
                kid_subsets=KID_SUBSETS, kid_subset_size=size, verbose=False,
            )  # fmt: skip
            scores[f"kid{n}"] = kid["kernel_inception_distance_mean"]
            scores[f"kid{n}_std"] = kid["kernel_inception_distance_std"]
    if {"precision", "recall"} & set(metrics):
        both = dict(zip(("precision", "recall"), precision_recall(features.pool, reference_features), strict=True))
        scores |= {name: value for name, value in both.items() if name in metrics}
    return Scores(scores, spread)


def _num_features(reference: Reference) -> int | None:
    """Count a reference's features; None where they are yet to be computed from its images."""
    return None if reference.features is None else len(reference.features)


def _check_widths(source: Source, features: FeatureSet, reference: Reference) -> None:
    width = features.pool.shape[1]
    theirs = len(reference.pool.mu)
    if width != theirs:
        raise UserError(
            f"reference {reference.path} is of features {theirs} wide, those of {source.path} are {width} wide; "
            "it was made with another extractor"
        )


def protocol(source: Source, extractor: Extractor, reference: Reference, num_draws: int) -> dict:
    """Describe what was measured: two results compare only where these agree."""
    made = {"source": source.path.name, "num_images": source.num} if source.run is None else made_by(source.run)
    return {
        **made,
        "uint8_rule": UINT8_RULE if source.run is not None else "unknown",
        **scoring_protocol(extractor.name, extractor.weights_sha256, reference.sha256, num_draws, extractor.device),
        "reference": reference.path.name,
        "reference_num_images": reference.num,
    }


def made_by(run: Run) -> dict:
    """Describe what a run's images were made by."""
    keys = ("num_steps", "device_name", "versions")
    facts = require_fields(run.record, read_record(run.record), *keys)
    return {**run.identity, **dict(zip(keys, facts, strict=True))}


def scoring_protocol(
    extractor: str, extractor_sha256: str, reference_sha256: str, num_draws: int, device: torch.device
) -> dict:
    """List what decides the numbers beside the images: files by their checksums, settings, versions."""
    return {
        "extractor": extractor,
        "extractor_sha256": extractor_sha256,
        "reference_sha256": reference_sha256,
        "inception_score_split": INCEPTION_SCORE_SPLIT,
        "precision_recall_nearest": NEAREST,
        "kid_subsets": [KID_SUBSETS, KID_SUBSET_SIZE],
        "bootstrap_draws": num_draws,
        "metrics_version": METRICS_VERSION,
        "evaluated_with": {
            "torch": torch.__version__,
            "torch-fidelity": version("torch-fidelity"),
            "device": device.type,
            "precision": "float32",
        },
    }


def count_name(num_images: int) -> str:
    """`50k` for 50,000, `1500` for 1,500: what a metric's name carries."""
    return f"{num_images // 1000}k" if num_images % 1000 == 0 else str(num_images)


def _unsorted(source: Source, logits: np.ndarray) -> np.ndarray:
    """Logits in an order in which the splits of the Inception Score do not each see a few classes."""
    labels = source.labels
    if labels is None or len(np.unique(labels)) == 1 or (np.diff(labels) < 0).any():
        return logits
    warnings.warn(f"{source.path} is sorted by class; permuted with seed {SEED} for the Inception Score", stacklevel=2)
    return logits[np.random.default_rng(SEED).permutation(len(logits))]
