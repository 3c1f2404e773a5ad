"""Features of a set of images: extracted part by part, kept on disk, put together."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.metrics.archive import UNREADABLE
from evaluation.metrics.extractors import Extractor, Features
from evaluation.metrics.sources import Part, Source
from evaluation.metrics.statistics import Statistics, StatisticsAccumulator
from tstitch.errors import UserError
from tstitch.runs.atomic import write_atomically
from tstitch.runs.ranks import Ranks


@dataclass(frozen=True)
class FeatureSet:
    """Features of all images of a source: `pool` (N, D) and `logits` (N, C) float32, spatial ones as statistics."""

    pool: np.ndarray
    logits: np.ndarray | None
    spatial: Statistics | None


class FeatureCache:
    """Features on disk, one file for each part, keyed by the part's checksum and the extractor's weights."""

    def __init__(self, directory: Path, extractor: Extractor):
        self.has_logits = extractor.has_logits
        self.directory = directory / f"{extractor.name}-{extractor.weights_sha256[:12]}"

    def read(self, part: Part, with_spatial: bool) -> Features | None:
        """The features of a part, or None where they are not there, damaged, or without those that are needed."""
        try:
            with np.load(self._path(part), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            features = Features(**arrays)
        except UNREADABLE:
            return None
        columns = [column for column in vars(features).values() if column is not None]
        whole = all(column.ndim == 2 and len(column) == part.num and column.dtype.kind == "f" for column in columns)
        if not whole or not all(np.isfinite(column).all() for column in columns):
            return None
        lacks = (with_spatial and features.spatial is None) or (self.has_logits and features.logits is None)
        return None if lacks else features

    def write(self, part: Part, features: Features) -> None:
        """Keep the features of a part."""
        content = io.BytesIO()
        np.savez(content, **{name: value for name, value in vars(features).items() if value is not None})
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(part), content.getvalue())

    def _path(self, part: Part) -> Path:
        return self.directory / f"{part.key}.npz"


def gather_features(
    source: Source,
    extractor: Extractor,
    cache: FeatureCache,
    ranks: Ranks,
    with_spatial: bool = False,
    batch_size: int = 64,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureSet:
    """Features of a source. Each rank extracts those of its parts that the cache lacks; then all read the cache.

    Raises:
        UserError: features with NaN or Inf.
    """
    done = 0
    for part in source.parts[ranks.rank :: ranks.world_size]:
        if cache.read(part, with_spatial) is None:
            features = _extract(part, extractor, with_spatial, batch_size)
            if not all(np.isfinite(column).all() for column in vars(features).values() if column is not None):
                raise UserError(f"features of {source.path} have NaN or Inf; are the extractor's weights sound?")
            cache.write(part, features)
        done += part.num
        show(min(source.num, done * ranks.world_size), source.num)
    ranks.wait_for_all()
    return _read_all(source, cache, with_spatial)


def _read_all(source: Source, cache: FeatureCache, with_spatial: bool) -> FeatureSet:
    columns: dict[str, np.ndarray | None] = {}
    spatial, start = StatisticsAccumulator(), 0
    for part in source.parts:
        features = cache.read(part, with_spatial)
        if features is None:
            raise UserError(f"features of {source.path} vanished from {cache.directory}; run the command again")
        for name in ("pool", "logits"):
            values = getattr(features, name)
            if start and values is not None and values.shape[1] != columns[name].shape[1]:
                raise UserError(f"{cache.directory} has {name} of several widths; remove it and run the command again")
            if start == 0:  # filled in place: a list of parts beside its concatenation would double the memory
                columns[name] = None if values is None else np.empty((source.num, values.shape[1]), values.dtype)
            if values is not None:
                columns[name][start : start + part.num] = values
        start += part.num
        if with_spatial:
            spatial.update(features.spatial)
    return FeatureSet(columns["pool"], columns["logits"], spatial.finish() if with_spatial else None)


def _extract(part: Part, extractor: Extractor, with_spatial: bool, batch_size: int) -> Features:
    images, batch_size = part.load(), extractor.batch_size(batch_size)
    batches = [
        extractor(images[start : start + batch_size], with_spatial) for start in range(0, len(images), batch_size)
    ]
    columns = {name: [getattr(batch, name) for batch in batches] for name in ("pool", "logits", "spatial")}
    return Features(**{name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()})
