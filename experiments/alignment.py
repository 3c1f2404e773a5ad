"""Alignment of images with their prompts: the CLIP score as a metric of an evaluation."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.clip_score import CLIP_SCORE, Clip, clip_scores, describe_alignment
from evaluation.metrics.evaluate import made_by
from evaluation.metrics.sources import Source
from evaluation.metrics.spread import mean_spread
from experiments.scored import images_digest
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json
from tstitch.runs.shards import write_atomically

DRAWS = 1000  # of the bootstrap, where the settings ask for none: it costs nothing here
PAIRED = ("seed", "labels", "num_images")


@dataclass(frozen=True)
class Alignment:
    """A loaded CLIP model, and what a score of prompts is made with."""

    clip: Clip
    num_draws: int
    batch_size: int

    def result(self, source: Source, against: Source | None = None) -> dict:
        """The CLIP score's part of `result.json`: its mean and interval, and the difference from another run.

        Writes the score of each image with its caption into the run's `clip_score.csv`.

        Args:
            against: another run with the same captions and noise.

        Raises:
            UserError: not a run of prompts, or runs that are not paired.
        """
        check_aligned(source, against)
        scores = [self._score(each) for each in (source, against) if each is not None]
        mean, name, draws = mean_spread(scores[0], self.num_draws), self.clip.name, self.num_draws
        result = {
            "run_id": source.run.id,
            "images_sha256": images_digest(source.run),
            "metrics": {CLIP_SCORE: mean.value},
            "spread": {CLIP_SCORE: mean.as_dict()},
            "protocol": {
                **made_by(source.run), "clip": name, "clip_sha256": self.clip.sha256, "clip_bootstrap_draws": draws,
            },
        }  # fmt: skip
        if against is None:
            return result
        difference = mean_spread(scores[0] - scores[1], self.num_draws)
        verdict = describe_alignment(difference)
        compared = {"run_id": against.run.id, "difference": difference.as_dict(), "verdict": verdict}
        return {**result, "against": compared}

    def _score(self, source: Source) -> np.ndarray:
        """Scores (N,) of a run's images."""
        captions = read_json(source.run.record)["captions"]
        batches, start = [], 0
        for part in source.parts:
            images = part.load()
            texts = [captions[label] for label in source.labels[start : start + len(images)]]
            start += len(images)
            for first in range(0, len(images), self.batch_size):
                batch = slice(first, first + self.batch_size)
                batches.append(clip_scores(self.clip, images[batch], texts[batch]))
        scores = np.concatenate(batches)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["image", CLIP_SCORE, "caption"])
        for index, (label, score) in enumerate(zip(source.labels, scores, strict=True)):
            writer.writerow([index, f"{score:.6f}", captions[label]])
        write_atomically(source.path / "clip_score.csv", table.getvalue().encode())
        return scores


def check_draws(num_draws: int | None) -> int:
    """The bootstrap draws of a CLIP score's interval, by the setting `bootstrap`.

    Raises:
        UserError: one draw, which has no interval.
    """
    if num_draws == 1:
        raise UserError("bootstrap must be a whole number of 2 or more for the CLIP score, or 0 for its own, got 1")
    return num_draws or DRAWS


def check_aligned(source: Source, against: Source | None) -> None:
    """Raise `UserError` unless these are runs of prompts, and paired where there are two."""
    sources = [each for each in (source, against) if each is not None]
    for each in sources:
        if each.run is None or "captions" not in read_json(each.run.record):
            raise UserError(f"{each.path} is not a run of scripts.prompts, so it has no CLIP score")
        num_captions = len(read_json(each.run.record)["captions"])
        if max(each.labels) >= num_captions:
            raise UserError(f"{each.path} has an image of caption {max(each.labels)}, but run.json has {num_captions}")
    if against is None:
        return
    different = [key for key in PAIRED if source.run.identity[key] != against.run.identity[key]]
    if different:
        raise UserError(f"{source.path} and {against.path} are not paired: they differ in {different[0]}")
