"""The scores of any images by a command's settings: what a run recorded, defaults of an extractor, and CLIP."""

from __future__ import annotations

from pathlib import Path

from evaluation.metrics.clip_score import CLIP_SCORE
from evaluation.metrics.result_file import EvaluationRecord
from evaluation.metrics.sources import open_source
from evaluation.records import Record, check_record
from experiments.evaluation import load_evaluation
from experiments.scored import with_earlier
from models.checkout import resolve_path
from tstitch.errors import UserError
from tstitch.runs.outputs import check_output
from tstitch.runs.progress import Counter
from tstitch.runs.ranks import choose_device, joined_ranks
from tstitch.runs.record import read_record, require_fields
from tstitch.runs.run import load_run

FROM_RUN = ("extractor", "extractor_weights", "reference", "metrics", "bootstrap")


class RecordedEvaluation(Record):
    """The evaluation that `run.json` asks for."""

    evaluation: EvaluationRecord


def fill_in(settings: dict) -> dict:
    """Complete the settings of an evaluation: by what the run says it is to be scored with, then by defaults."""
    complete = dict(settings)
    if settings["run"] is not None:
        record = load_run(Path(settings["run"])).record
        [recorded] = require_fields(record, read_record(record), "evaluation")
        check_record(record, {"evaluation": recorded}, RecordedEvaluation)
        if settings["extractor"] in (None, recorded.get("extractor")):
            known = {key: recorded[key] for key in FROM_RUN if recorded.get(key) not in (None, [])}
            complete |= {key: value for key, value in known.items() if settings[key] is None}
    complete["extractor"] = complete["extractor"] or "inception"
    defaults = settings["defaults_of"].get(complete["extractor"], settings["defaults_of"]["inception"])
    return complete | {key: value for key, value in defaults.items() if complete[key] is None}


def score_images(settings: dict, out: Path) -> dict | None:
    """Score images by settings; the content of `result.json` on rank 0, None on the others.

    Metrics that `out` has of the same images, made alike, are kept.

    Args:
        settings: of `scripts.evaluate`, as its configuration has them.
        out: where the result will be written.

    Raises:
        UserError: settings, files or images that cannot be.
    """
    path, complete = Path(settings["run"] or settings["samples"] or ""), fill_in(settings)
    metrics = complete["metrics"]
    aligned = CLIP_SCORE in metrics
    if settings["against"] is not None and not aligned:
        raise UserError("against= is for metrics=[clip_score]; scripts.compare compares results")
    alone = aligned and set(metrics) == {CLIP_SCORE}
    files = [] if alone else [resolve_path(complete[key]) for key in ("extractor_weights", "reference")]
    check_output(out, "the result of an evaluation", [path, *files])
    with joined_ranks() as ranks:
        device = choose_device(complete["device"], ranks.local_rank, ranks.local_world_size)
        source = open_source(path)
        against = settings["against"] and open_source(Path(settings["against"]))
        evaluation = load_evaluation(complete, device, ranks)
        result = evaluation.result(source, ranks, Counter("images", quiet=not ranks.is_main), against)
        return result and with_earlier(result, out)
