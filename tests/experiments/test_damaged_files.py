"""A damaged, foreign or older JSON file ends in one line that names it, or is made again; nothing else is raised."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.report.analysis_plots import read_analyses
from evaluation.report.sweep import read_sweep
from experiments.compare import _read_result
from experiments.point_latency import LATENCY, _sessions
from experiments.scored import PAIRED, RESULT, earlier_result, holds
from tests.damage import damaged_bytes, damaged_fields, write_damaged
from tstitch.errors import UserError
from tstitch.runs.record import identity_hash
from tstitch.runs.run import Run, load_run

SPREAD = {"value": 3.0, "std": 1.0, "interval95": [1.0, 5.0]}
EVALUATION = {
    "extractor": "digits", "extractor_weights": "w", "reference": "r", "metrics": ["fid"], "bootstrap": 2,
    "batch_size": 4,
}  # fmt: skip
IDENTITY = {"num_images": 4, "batch_size": 2, "seed": 0}
RECORD = {
    "run_id": identity_hash(IDENTITY), "identity": IDENTITY, "num_steps": 2, "device_name": "a CPU",
    "versions": {"torch": "2"}, "evaluation": EVALUATION, "captions": ["a cat"], "seconds": {"s": 1.5},
    "evaluations": {"s": 2}, "peak_memory_mb": {"host": 9},
}  # fmt: skip
RESULT_OF_RUN = {
    "run_id": RECORD["run_id"], "images_sha256": "ab", "metrics": {"fid4": 3.0}, "spread": {"fid4": SPREAD},
    "protocol": {"device_name": "a CPU", "denoisers": {"s": 1}, "guidance": {"channels": 3}}, "asked": EVALUATION,
}  # fmt: skip
TIME = {
    "machine": {"device": "a CPU"}, "seconds_per_image": 0.2, "seconds_per_image_min": 0.1,
    "seconds_per_image_max": 0.3, "stages_s_per_image": {"s": 0.2},
}  # fmt: skip
POINT = {
    "fractions": [1.0, 0.0], "guidance_scale": 1.5, "sampler": "ddim", "num_steps": 2, "order": "small_to_large",
    "rule": "steps", "allocation": [0, 0], "metrics": {"fid4": 3.0}, "latency": TIME, "spread": {"fid4": SPREAD},
    "paired": {**SPREAD, "verdict": "is better"}, "run": "points/a",
    "asked": [
        {"fractions": [1, 0], "guidance_scale": 1.5, "num_steps": 2, "order": "small_to_large", "rule": "steps"}
    ],
}  # fmt: skip
PROTOCOL = {
    "pair": "a_b", "num_images": 4, "seed": 0, "precision": "float32", "device_name": "a CPU",
    "sampler": {"name": "ddim"}, "num_steps": 2, "reference_num_images": 5, "extractor": "digits", "reference": "r",
}  # fmt: skip
SWEEP = {"points": [POINT], "protocol": PROTOCOL, "overrides": ["pair=a_b"]}
CURVE = {"label": "stitched", "mean": [0.1, 0.2], "std": [0.0, 0.1]}
DATA = {
    "similarity": {"timesteps": [9, 0], "panels": {"latents": [CURVE]}},
    "spectrum": {"timesteps": [9, 0], "log_amplitude": [[0.1, 0.2], [0.3, 0.4]]},
    "error": {"fractions": [[0.0, 1.0], [1.0, 0.0]], "curve": CURVE},
    "schedules": {"fractions": [0.0, 1.0], "errors": {"first": [0.0, 0.2]}, "correlation": 0.9},
    "oracle": {"fractions": [0.0, 1.0], "error": [0.0, 0.2], "oracle_fractions": [0.5], "oracle_error": [0.1]},
    "disagreement": {"timesteps": [9, 0], "weights": [0.1, 0.2], "curves": [CURVE]},
}


def analysis(kind: str) -> dict:
    return {"identity": {"analysis": kind, "num_images": 2}, "pair": "a_b", "found": ["Alike."], "data": DATA[kind]}


REFUSED: dict[str, tuple[dict, Callable[[Path], object]]] = {
    "run.json": (RECORD, lambda path: load_run(path.parent)),
    "sweep.json": (SWEEP, lambda path: read_sweep(path.parent)),
    "result.json": (RESULT_OF_RUN, _read_result),
    **{f"{kind}.json": (analysis(kind), lambda path: read_analyses([path])) for kind in DATA},
}
PAIR = {"run_id": RECORD["run_id"], **SPREAD, "verdict": "is better", "distance": 1.0}
MADE_AGAIN: dict[str, tuple[dict, Callable[[Path], object]]] = {
    RESULT: (RESULT_OF_RUN, earlier_result),
    PAIRED: (
        {"run_id": RECORD["run_id"], **SPREAD, "verdict": "is better", "distance": 1.0},
        lambda path: holds(path, std=1.0),
    ),
    LATENCY: ({"run_id": RECORD["run_id"], "sessions": [TIME]}, lambda path: _sessions(Run(path.parent, IDENTITY))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_made_again_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    content, read = REFUSED[name]
    path = tmp_path / name
    write_damaged(path, content)
    read(path)
    for damage, data in damaged_bytes(path.read_bytes()).items():
        path.write_bytes(data)
        with pytest.raises(UserError) as refused:
            read(path)
        assert str(path) in str(refused.value), damage
        assert "\n" not in str(refused.value), damage
    num_refused = 0
    for damage, damaged in damaged_fields(content):
        write_damaged(path, damaged)
        try:
            read(path)
        except UserError as error:
            assert str(error).startswith(f"{path}"), damage
            assert damage.split(".")[0].split()[0] in str(error), damage
            num_refused += 1
    assert num_refused >= 20


@pytest.mark.parametrize("name", MADE_AGAIN)
def test_a_file_that_can_be_made_again_counts_as_missing_and_is_named(tmp_path: Path, capsys, name: str) -> None:
    content, read = MADE_AGAIN[name]
    path = tmp_path / name
    assert not read(path)
    write_damaged(path, content)
    assert read(path)
    capsys.readouterr()
    for damage, data in damaged_bytes(path.read_bytes()).items():
        path.write_bytes(data)
        assert not read(path), damage
    assert f"{path} is not valid JSON: it is empty; it is made again\n" in capsys.readouterr().out
    for _, damaged in damaged_fields(content):
        write_damaged(path, damaged)
        read(path)


def test_a_sweep_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    point = {key: value for key, value in POINT.items() if key not in ("spread", "paired", "run", "asked")}
    later = {**SWEEP, "version": 2, "points": [{**point, "new": 1}]}
    (tmp_path / "sweep.json").write_text(json.dumps(later))
    [read] = read_sweep(tmp_path).points
    assert (read.fractions, read.asked, read.paired) == ([1.0, 0.0], [], None)


def test_an_identity_that_was_edited_is_not_taken_for_the_run(tmp_path: Path) -> None:
    edited = {**RECORD, "identity": {**IDENTITY, "seed": 1}}
    (tmp_path / "run.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match=r"run\.json was changed after it was written"):
        load_run(tmp_path)
