"""Names of metrics: the key of each in a result, how it is shown, and which way is better."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """A metric by its plain name, such as `fid` for the key `fid5k` of a result."""

    name: str
    title: str
    higher_is_better: bool = False
    on_log_axis: bool = False


METRIC_NAMES = (
    MetricName("fid", "FID", on_log_axis=True),
    MetricName("fd_dinov2", "FD-DINOv2", on_log_axis=True),
    MetricName("inception_score", "Inception Score", higher_is_better=True),
    MetricName("sfid", "sFID", on_log_axis=True),
    MetricName("kid", "KID"),
    MetricName("precision", "Precision", higher_is_better=True),
    MetricName("recall", "Recall", higher_is_better=True),
    MetricName("clip_score", "CLIP score", higher_is_better=True),
    MetricName("inception_score_ten_splits", "Inception Score (ten splits)", higher_is_better=True),
)
DISTANCES = ("fid", "fd_dinov2")  # what says how far a point is from the large model, the first that there is


def is_metric(key: str, name: str, with_std: bool = True) -> bool:
    """Tell whether a result's key such as `fid5k`, `fd_dinov2_5k` or `kid5k_std` is of the metric `name`."""
    return re.fullmatch(rf"{name}(_?\d+k?)?{'(_std)?' if with_std else ''}", key) is not None


def metrics_among(keys: Iterable[str]) -> list[tuple[MetricName, str]]:
    """The metrics that some results' keys are of, each with its key; standard deviations are none."""
    known = list(dict.fromkeys(keys))
    return [(metric, key) for metric in METRIC_NAMES for key in known if is_metric(key, metric.name, with_std=False)]
