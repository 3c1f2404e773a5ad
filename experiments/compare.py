"""Runs compared with one another: results that are current, and differences of FID between runs of the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation.metrics.clip_score import CLIP_SCORE
from evaluation.metrics.influence import fid_spread
from evaluation.metrics.result_file import ResultRecord
from evaluation.metrics.sources import open_source
from evaluation.metrics.spread import Spread, describe_difference
from evaluation.records import read_record
from evaluation.report.compare import are_paired, compare_results
from experiments.evaluation import SETTINGS, Evaluation, extractor_name, load_evaluation
from experiments.scored import RESULT, images_digest, read_scoring
from tstitch.errors import UserError, explain_no_file
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import load_run


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a run's FID from the first run's, with its interval, and a verdict in words."""

    spread: Spread
    verdict: str

    def as_dict(self) -> dict:
        """Return what is stored beside a point of a sweep."""
        return {**self.spread.as_dict(), "verdict": self.verdict}


def compare_runs(
    runs: Sequence[tuple[str, Path]], evaluation: Evaluation, ranks: Ranks, quiet: bool = True
) -> list[PairedDifference]:
    """Compare the FID of each run after the first with the first run's, from features kept beside the runs.

    Args:
        runs: the name in the verdict and the directory of each; image i of all has the same noise and label.
        quiet: without a counter.
    """
    counter = Counter("points compared", quiet=quiet)
    sets = (evaluation.features(open_source(directory), ranks).pool for _, directory in runs)
    fids = fid_spread(sets, evaluation.reference.pool, lambda done: counter(done, len(runs)))
    first_name, first_fid = runs[0][0], float(fids.values[0])
    differences = []
    for k, (name, _) in enumerate(runs[1:], start=1):
        spread = fids.difference(0, k)
        differences.append(PairedDifference(spread, describe_difference((first_name, name), first_fid, spread)))
    return differences


def compare_places(places: Sequence[Path], ranks: Ranks, device: torch.device) -> list[str]:
    """Compare two results line by line, and their images where both are runs of the same noise.

    Args:
        places: of each, its directory or its `result.json`.

    Raises:
        UserError: a result is missing, or does not say what it was made with.
    """
    stored = [_read_result(place) for place in places]
    results = [_current(*named, ranks, device) for named in zip("ab", places, stored, strict=True)]
    lines = compare_results(*results)
    has_features = all(set(result["metrics"]) - {CLIP_SCORE} for result in results)
    if has_features and all(_is_run(place) for place in places) and are_paired(*results):
        evaluation = load_evaluation(results[0]["asked"], device, ranks)
        (difference,) = compare_runs(list(zip("ab", places, strict=True)), evaluation, ranks)
        lines.append(difference.verdict)
    return lines


def _is_run(place: Path) -> bool:
    return (place / "run.json").is_file()


def _current(name: str, place: Path, result: dict, ranks: Ranks, device: torch.device) -> dict:
    """Return a result; a run is scored anew where its images or the files it was scored with have changed since."""
    if not _is_run(place):
        return result
    settings = result.get("asked") or {}
    if not set(SETTINGS) <= settings.keys():
        raise UserError(
            f"{place / RESULT} does not say what it was scored with; python -m scripts.evaluate run={place} "
            "makes it anew"
        )
    digest = images_digest(load_run(place))
    try:
        scoring = read_scoring(settings, extractor_name(settings["extractor"]), device)
        if result.get("images_sha256") == digest and scoring.is_of(result):
            return result
        print(f"{name}: the images, or what they were scored with, have changed since result.json; scored anew")
        evaluation = load_evaluation(settings, device, ranks)
    except UserError as error:
        raise UserError(f"{place / RESULT} was scored with what cannot be used now: {error}") from error
    return evaluation.result(open_source(place), ranks)


def _read_result(place: Path) -> dict:
    path = place / RESULT if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path} {explain_no_file(path)}; python -m scripts.evaluate makes it")
    result, _ = read_record(path, ResultRecord, "python -m scripts.evaluate makes the result of an evaluation anew")
    return result
