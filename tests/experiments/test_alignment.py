"""The CLIP score of runs from captions, end to end on tiny models."""

import csv
import json
from pathlib import Path

import pytest

from tests.evaluation.test_clip_score import save_clip
from tests.pipelines.families import FAMILIES, unet
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

CAPTIONS = ["a cat", "a hat", "dogs"]


@pytest.fixture
def sampled(capfd, monkeypatch, tmp_path: Path) -> Path:
    """Two runs that share captions and noise, and one that does not."""
    FAMILIES["sd"].build().save_pretrained(tmp_path / "large")
    unet("small").save_pretrained(tmp_path / "small")
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    common = [
        f"large={tmp_path / 'large'}", f"small=[{tmp_path / 'small'}]", f"captions={tmp_path / 'captions.txt'}",
        "call.height=16", "call.width=16", "call.num_inference_steps=2", "precision=float32", "num_images=6",
        "batch_size=4",
    ]  # fmt: skip
    for name, changes in {"zero": ["stitch.fraction=0"], "half": ["stitch.fraction=0.5"], "other": ["seed=1"]}.items():
        outcome = run_here(capfd, monkeypatch, "prompts", *common, *changes, f"out={tmp_path / name}")
        assert outcome.code == 0, outcome.err
    save_clip(tmp_path / "clip")
    return tmp_path


def test_a_run_has_a_score_per_prompt_a_mean_and_an_interval(capfd, monkeypatch, sampled: Path) -> None:
    arguments = [f"clip={sampled / 'clip'}", f"run={sampled / 'half'}", "metrics=[clip_score]", "batch_size=3"]
    outcome = run_here(capfd, monkeypatch, "evaluate", *arguments, f"against={sampled / 'zero'}")
    assert outcome.code == 0, outcome.err
    assert "difference " in outcome.out
    scores = {}
    for name in ("half", "zero"):
        rows = list(csv.DictReader((sampled / name / "clip_score.csv").open()))
        assert [row["caption"] for row in rows] == CAPTIONS * 2
        scores[name] = [float(row["clip_score"]) for row in rows]
    result = json.loads((sampled / "half" / "result.json").read_text())
    low, high = result["spread"]["clip_score"]["interval95"]
    assert low < result["metrics"]["clip_score"] < high
    assert result["metrics"]["clip_score"] == pytest.approx(sum(scores["half"]) / 6, abs=1e-6)
    expected = (sum(scores["half"]) - sum(scores["zero"])) / 6
    assert result["against"]["difference"]["value"] == pytest.approx(expected, abs=1e-6)
    assert result["protocol"]["clip_sha256"]


def test_mistakes_are_one_line(capfd, monkeypatch, sampled: Path) -> None:
    run, clip = f"run={sampled / 'half'}", f"clip={sampled / 'clip'}"
    mistakes = {
        (run, "clip=nowhere"): "nowhere holds no model.safetensors",
        (run, clip, f"against={sampled / 'other'}"): "are not paired: they differ in seed",
        (run, clip, "bootstrap=1"): "bootstrap must be a whole number of 2 or more for the CLIP score",
        ("run=nowhere", clip): "nowhere holds no run",
        (f"samples={sampled / 'half' / 'samples.npz'}", clip): "is not a run of scripts.prompts",
    }
    for arguments, message in mistakes.items():
        check_one_line(run_here(capfd, monkeypatch, "evaluate", "metrics=[clip_score]", *arguments), message)
    alone = run_here(capfd, monkeypatch, "evaluate", run, f"against={sampled / 'zero'}", "metrics=[fid]")
    check_one_line(alone, "against= is for metrics=[clip_score]")


def test_the_images_are_scored_against_a_reference_of_captions(capfd, monkeypatch, sampled: Path) -> None:
    """Never against ImageNet's by default: a run says what it is to be compared with."""
    outcome = run_here(capfd, monkeypatch, "evaluate", f"run={sampled / 'half'}")
    check_one_line(outcome, "weights/mscoco_val2014_256.npz")
