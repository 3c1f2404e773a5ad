"""The scores of any images by a command's settings: what a run recorded, defaults of an extractor, and CLIP."""

from __future__ import annotations

from pathlib import Path

from evaluation.metrics.sources import open_source
from experiments.alignment import CLIP_SCORE, score_alignment
from experiments.evaluation import load_evaluation
from models.checkout import resolve_path
from sampling.plan import check_whole_number
from tstitch.errors import UserError
from tstitch.runs.outputs import check_output
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import choose_device, joined_ranks
from tstitch.runs.run import load_run, read_json

FROM_RUN = ("extractor", "extractor_weights", "reference", "metrics", "bootstrap")


def fill_in(settings: dict) -> dict:
    """Complete the settings of an evaluation: by what the run says it is to be scored with, then by defaults.

    Raises:
        UserError: not one of `run` and `samples` is given.
    """
    if (settings["run"] is None) == (settings["samples"] is None):
        raise UserError("give one of run=DIR (a run of ours) and samples=FILE_OR_DIR")
    complete = dict(settings)
    if settings["run"] is not None:
        recorded = read_json(load_run(Path(settings["run"])).record)["evaluation"]
        if settings["extractor"] in (None, recorded["extractor"]):
            complete |= {key: recorded[key] for key in FROM_RUN if settings[key] is None and key in recorded}
    complete["extractor"] = complete["extractor"] or "inception"
    defaults = settings["defaults_of"].get(complete["extractor"], settings["defaults_of"]["inception"])
    return complete | {key: value for key, value in defaults.items() if complete[key] is None}


def score_images(settings: dict, out: Path) -> dict | None:
    """Score images by settings; the content of `result.json` on rank 0, None on the others.

    Args:
        settings: of `scripts.evaluate`, as its configuration has them.
        out: where the result will be written.

    Raises:
        UserError: settings, files or images that cannot be.
    """
    path, complete = Path(settings["run"] or settings["samples"] or ""), fill_in(settings)
    metrics = complete["metrics"]
    check_whole_number("batch_size", complete["batch_size"], lowest=1)
    aligned = isinstance(metrics, list) and CLIP_SCORE in metrics
    if settings["against"] is not None and not aligned:
        raise UserError("against= is for metrics=[clip_score]; scripts.compare compares results")
    compared = [metric for metric in metrics if metric != CLIP_SCORE] if aligned else metrics
    files = [resolve_path(complete[key]) for key in ("extractor_weights", "reference")] if compared else []
    check_output(out, "the result of an evaluation", [path, *files])
    with joined_ranks() as ranks:
        device = choose_device(complete["device"], ranks.local_rank, ranks.local_world_size)
        source, result = open_source(path), None
        if compared or not aligned:
            evaluation = load_evaluation({**complete, "metrics": compared}, device, ranks)
            result = evaluation.result(source, ranks, Counter("images", quiet=not ranks.is_main))
        if aligned and ranks.is_main:
            alignment = score_alignment(source, settings, device)
            result = _join(result, alignment) if result is not None else alignment
        return result


def _join(result: dict, alignment: dict) -> dict:
    """One result with the metrics of both, and the protocol of both."""
    joined = {key: {**result[key], **alignment[key]} for key in ("metrics", "spread")}
    draws = {"clip_bootstrap_draws": alignment["protocol"]["bootstrap_draws"]}
    return {**alignment, **result, **joined, "protocol": {**alignment["protocol"], **result["protocol"], **draws}}
