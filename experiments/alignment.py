"""Alignment of images with their prompts: the CLIP score as a metric of `scripts.evaluate`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.clip_score import Clip, clip_scores, describe_alignment, load_clip
from evaluation.metrics.sources import Source, open_source
from evaluation.metrics.spread import mean_spread
from experiments.scored import images_digest
from models.checkout import resolve_path
from tstitch.errors import UserError
from tstitch.runs.run import read_json
from tstitch.runs.shards import write_atomically

CLIP_SCORE = "clip_score"
DRAWS = 1000  # of the bootstrap, where the settings leave it out
PAIRED = ("seed", "labels", "num_images")


def score_alignment(source: Source, settings: dict, device: torch.device) -> dict:
    """The content of `result.json` with the mean CLIP score, its interval, and the difference from another run.

    Writes the score of each image with its caption into the run's `clip_score.csv`.

    Args:
        settings: `clip`, the folder of a CLIP model; `against`, another run with the same captions and noise, or None;
            `batch_size`; `bootstrap`, the draws for the intervals.

    Raises:
        UserError: not a run of prompts, runs that are not paired, or no CLIP model.
    """
    num_draws = DRAWS if settings["bootstrap"] is None else settings["bootstrap"]
    if num_draws < 2:
        raise UserError(f"bootstrap must be a whole number of 2 or more for the CLIP score, got {num_draws}")
    sources = [source] if settings["against"] is None else [source, open_source(Path(settings["against"]))]
    for each in sources:
        if each.run is None or "captions" not in read_json(each.run.record):
            raise UserError(f"{each.path} is not a run of scripts.prompts, so it has no CLIP score")
    if len(sources) == 2:
        different = [key for key in PAIRED if sources[0].run.identity[key] != sources[1].run.identity[key]]
        if different:
            raise UserError(f"{sources[0].path} and {sources[1].path} are not paired: they differ in {different[0]}")
    clip = load_clip(resolve_path(settings["clip"]), device)
    scores = [_score_images(clip, each, settings["batch_size"]) for each in sources]
    mean = mean_spread(scores[0], num_draws)
    result = {
        "run_id": source.run.id,
        "images_sha256": images_digest(source.run),
        "metrics": {CLIP_SCORE: mean.value},
        "spread": {CLIP_SCORE: mean.as_dict()},
        "protocol": {
            **source.run.identity, "clip": clip.name, "clip_sha256": clip.sha256, "bootstrap_draws": num_draws,
        },
    }  # fmt: skip
    if len(sources) == 2:
        difference = mean_spread(scores[0] - scores[1], num_draws)
        verdict = describe_alignment(difference)
        result["against"] = {"run_id": sources[1].run.id, "difference": difference.as_dict(), "verdict": verdict}
    return result


def _score_images(clip: Clip, source: Source, batch_size: int) -> np.ndarray:
    """Scores (N,) of a run's images; writes them with the captions into the run's `clip_score.csv`."""
    captions = read_json(source.run.record)["captions"]
    batches, start = [], 0
    for part in source.parts:
        images = part.load()
        texts = [captions[label] for label in source.labels[start : start + len(images)]]
        start += len(images)
        for first in range(0, len(images), batch_size):
            batch = slice(first, first + batch_size)
            batches.append(clip_scores(clip, images[batch], texts[batch]))
    scores = np.concatenate(batches)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["image", CLIP_SCORE, "caption"])
    for index, (label, score) in enumerate(zip(source.labels, scores, strict=True)):
        writer.writerow([index, f"{score:.6f}", captions[label]])
    write_atomically(source.path / "clip_score.csv", table.getvalue().encode())
    return scores
