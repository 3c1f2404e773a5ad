"""How well images follow their prompts: the CLIP score of each, the mean, and the difference between two runs.

python -m scripts.clip_score run=DIR model=FOLDER [against=DIR]
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

if TYPE_CHECKING:
    import numpy as np

    from evaluation.metrics.clip_score import Clip
    from evaluation.metrics.sources import Source

PAIRED = ("seed", "labels", "num_images")


def main(config: DictConfig) -> None:
    from evaluation.metrics.clip_score import describe_alignment, load_clip
    from evaluation.metrics.sources import open_source
    from evaluation.metrics.spread import mean_spread
    from models.checkout import resolve_path
    from sampling.plan import check_whole_number
    from tstitch.errors import UserError
    from tstitch.runs.ranks import choose_device
    from tstitch.runs.run import read_json, write_json

    settings = resolved(config)
    check_whole_number("bootstrap", settings["bootstrap"], lowest=2)
    check_whole_number("batch_size", settings["batch_size"], lowest=1)
    sources = [open_source(Path(settings[key])) for key in ("run", "against") if settings[key] is not None]
    for source in sources:
        if source.run is None or "captions" not in read_json(source.run.record):
            raise UserError(f"{source.path} is not a run of scripts.prompts")
    if len(sources) == 2:
        different = [key for key in PAIRED if sources[0].run.identity[key] != sources[1].run.identity[key]]
        if different:
            raise UserError(f"{sources[0].path} and {sources[1].path} are not paired: they differ in {different[0]}")
    clip = load_clip(resolve_path(settings["model"]), choose_device(settings["device"], local_rank=0))
    scores = [_scores(clip, source, settings["batch_size"]) for source in sources]
    means = [mean_spread(values, settings["bootstrap"]) for values in scores]
    result = {
        "run_id": sources[0].run.id,
        "metrics": {"clip_score": means[0].value},
        "spread": {"clip_score": means[0].as_dict()},
        "protocol": {
            **sources[0].run.identity, "clip": clip.name, "clip_sha256": clip.sha256,
            "bootstrap_draws": settings["bootstrap"],
        },
    }  # fmt: skip
    for source, mean in zip(sources, means, strict=True):
        print(f"{source.path}: CLIP score {mean.value:.4f}  (95%: {mean.interval[0]:.4f} to {mean.interval[1]:.4f})")
    if len(sources) == 2:
        difference = mean_spread(scores[0] - scores[1], settings["bootstrap"])
        result["against"] = {"run_id": sources[1].run.id, "difference": difference.as_dict()}
        print(describe_alignment(difference))
    out = sources[0].path / "clip_score.json"
    write_json(out, result)
    print(out)


def _scores(clip: Clip, source: Source, batch_size: int) -> np.ndarray:
    """Scores (N,) of a run's images; writes them with the captions into the run's `clip_score.csv`."""
    import numpy as np

    from evaluation.metrics.clip_score import clip_scores
    from tstitch.runs.run import read_json

    captions = read_json(source.run.record)["captions"]
    found, start = [], 0
    for part in source.parts:
        images = part.load()
        texts = [captions[label] for label in source.labels[start : start + len(images)]]
        start += len(images)
        for first in range(0, len(images), batch_size):
            batch = slice(first, first + batch_size)
            found.append(clip_scores(clip, images[batch], texts[batch]))
    scores = np.concatenate(found)
    with (source.path / "clip_score.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "clip_score", "caption"])
        for index, (label, score) in enumerate(zip(source.labels, scores, strict=True)):
            writer.writerow([index, f"{score:.6f}", captions[label]])
    return scores


if __name__ == "__main__":
    run_command("clip_score", main)
