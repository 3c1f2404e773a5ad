"""The check whether a result on disk is of the images, the files and the settings as they are now."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import torch
from pydantic import model_validator

from evaluation.metrics.clip_score import CLIP_SCORE, clip_weights
from evaluation.metrics.evaluate import scoring_protocol
from evaluation.metrics.result_file import ResultRecord, ScoredWith
from evaluation.records import Record, read_record
from evaluation.report.sweep_file import DifferenceRecord
from models.checkout import resolve_path
from sampling.job import RunPlan
from settings.base import complain
from settings.types import NotNegative, Words
from tstitch.errors import UserError, explain_no_file
from tstitch.runs.digest import file_sha256
from tstitch.runs.run import Run

RESULT, PAIRED = "result.json", "paired.json"
# Of an evaluation's settings: more metrics may be there, and the size of a batch does not decide numbers.
NOT_DECISIVE = ("metrics", "batch_size")


class CompleteResult(ResultRecord):
    """A result to which metrics can be added: it says what it was made with, and of a run also where."""

    asked: ScoredWith

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        is_text = isinstance(self.protocol.get("device_name"), str)
        denoisers, guidance = self.protocol.get("denoisers", {}), self.protocol.get("guidance", {})
        if self.run_id is not None and not (is_text and isinstance(denoisers, dict) and isinstance(guidance, dict)):
            raise complain("must have a protocol with the text device_name and the objects denoisers and guidance")
        return self


class PairedRecord(DifferenceRecord):
    """`paired.json`: the difference of a run's FID from that of the large model alone, and its images' distance."""

    run_id: Words
    distance: NotNegative


@dataclass(frozen=True)
class Scoring:
    """The making of numbers: the settings of an evaluation, and the part of a protocol that it decides."""

    settings: dict
    protocol: dict

    def is_of(self, result: dict) -> bool:
        """Tell whether a result was made with the same settings and the same files."""
        asked, protocol = result.get("asked"), result.get("protocol")
        if not isinstance(asked, dict) or not isinstance(protocol, dict):
            return False
        without = NOT_DECISIVE if CLIP_SCORE in self.settings["metrics"] else (*NOT_DECISIVE, "clip")
        is_alike = all(asked.get(key) == value for key, value in self.settings.items() if key not in without)
        return is_alike and all(protocol.get(key) == value for key, value in self.protocol.items())


def read_scoring(settings: dict, extractor: str, device: torch.device) -> Scoring:
    """The scoring of an evaluation's settings; the files are read for their checksums, and no network is loaded.

    Args:
        extractor: its full name.

    Raises:
        UserError: a file is missing.
    """
    protocol = {}
    if CLIP_SCORE in settings["metrics"]:
        protocol |= {"clip_sha256": file_sha256(clip_weights(resolve_path(settings["clip"])))}
    if set(settings["metrics"]) <= {CLIP_SCORE}:
        return Scoring(settings, protocol)
    checksums = {}
    for key in ("extractor_weights", "reference"):
        path = resolve_path(settings[key])
        if not path.is_file():
            raise UserError(f"{key} {path} {explain_no_file(path)}, so no result can be compared with it")
        checksums[key] = file_sha256(path)
    digests = checksums["extractor_weights"], checksums["reference"]
    return Scoring(settings, protocol | scoring_protocol(extractor, *digests, settings["bootstrap"], device))


def images_digest(run: Run) -> str | None:
    """A checksum over those that the run's shards keep of their images and labels; None where a shard is missing.

    No image is read: a shard that is damaged is found when its images are.
    """
    digest = hashlib.sha256()
    for block in run.blocks:
        try:
            with zipfile.ZipFile(run.shards / block.name) as shard:
                digest.update(shard.comment)
                for member in sorted(shard.infolist(), key=lambda member: member.filename):
                    digest.update(f"{member.filename} {member.file_size} {member.CRC:08x}\n".encode())
        except (OSError, zipfile.BadZipFile):
            return None
    return digest.hexdigest()


def metrics_there(run: Run, scoring: Scoring) -> list[str]:
    """The metrics that the run's result has, if it is of the run's images and was made with this scoring."""
    result = earlier_result(run.directory / RESULT)
    is_current = result.get("run_id") == run.id and result.get("images_sha256") == images_digest(run)
    return list(result["asked"]["metrics"]) if is_current and scoring.is_of(result) else []


def earlier_result(path: Path) -> dict:
    """The result on disk; empty where there is none, and where it cannot be used, which a line says."""
    return earlier_content(path, CompleteResult)


def earlier_content(path: Path, kind: type[Record]) -> dict:
    """The content of a file that can be made again; empty where it is not there or cannot be used.

    A file that cannot be used is named in a line once; what is made again replaces it.
    """
    if not path.is_file():
        return {}
    try:
        return read_record(path, kind)[0]
    except UserError as error:
        _say_once(f"{error}; it is made again")
        return {}


@cache
def _say_once(line: str) -> None:
    print(line)


def with_earlier(result: dict, path: Path) -> dict:
    """A result, with the metrics of the one on disk where that is of the same images and made alike.

    The two are made alike where their protocols agree in all that both of them name.
    """
    earlier = earlier_result(path)
    if result["images_sha256"] is None or any(earlier.get(key) != result[key] for key in ("run_id", "images_sha256")):
        return result
    there, new = earlier["protocol"], result["protocol"]
    if any(there[key] != new[key] for key in there.keys() & new.keys()):
        return result
    if CLIP_SCORE in result["metrics"]:
        earlier.pop("against", None)
    joined = {key: {**earlier.get(key, {}), **result[key]} for key in ("metrics", "spread", "protocol")}
    metrics = list(dict.fromkeys([*earlier["asked"]["metrics"], *result["asked"]["metrics"]]))
    return {**earlier, **result, **joined, "asked": {**earlier["asked"], **result["asked"], "metrics": metrics}}


def is_scored(plan: RunPlan, run: Run, scoring: Scoring) -> bool:
    """Tell whether the run's result is there, as it would be made now, with the plan's metrics among others."""
    return set(plan.evaluation["metrics"]) <= set(metrics_there(run, scoring))


def holds(path: Path, **expected: object) -> bool:
    """Tell whether a comparison of two runs is there, and is of these values."""
    content = earlier_content(path, PairedRecord)
    return bool(content) and all(content.get(key) == value for key, value in expected.items())
