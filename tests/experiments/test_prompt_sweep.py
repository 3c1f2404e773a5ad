"""Sweeps, times and tables of prompts, end to end on tiny pipelines that lie on disk."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.evaluation.test_clip_score import save_clip
from tests.sampling.prompt_runs import CAPTIONS, arguments, save_weights
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line

ZOO = ROOT / "models" / "zoo" / "digits"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = save_weights(tmp_path_factory.mktemp("weights"))
    save_clip(folder / "clip")
    return folder


def settings(weights: Path, out: Path, *more: str) -> list[str]:
    """Of a sweep over 32-pixel images, which the digits' extractor can score."""
    plain = [own for own in arguments(weights, out) if not own.startswith("stitch.")]
    return [
        *plain, "call.height=32", "call.width=32", "call.num_inference_steps=4", "fractions=[0,0.5,1]",
        "latency.repeats=2", "evaluation.extractor=digits", f"evaluation.reference={ZOO / 'reference.npz'}",
        f"evaluation.extractor_weights={ZOO / 'classifier.safetensors'}", f"evaluation.clip={weights / 'clip'}",
        "evaluation.metrics=[fid,clip_score]", "evaluation.bootstrap=5", *more,
    ]  # fmt: skip


def test_a_sweep_of_prompts_is_scored_timed_and_reported(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "sweep"
    outcome = run_here(capfd, monkeypatch, "sweep_prompts", *settings(weights, out, "num_steps=[2,4]"))
    assert outcome.code == 0, outcome.err
    sweep = json.loads((out / "sweep.json").read_text())
    assert [point["fractions"] for point in sweep["points"]] == [[0, 1], [0.5, 0.5], [1, 0]] * 2
    assert [point["num_steps"] for point in sweep["points"]] == [2] * 3 + [4] * 3
    assert {point["sampler"] for point in sweep["points"]} == {"DDIMScheduler"}
    for point in sweep["points"]:
        low, high = point["spread"]["clip_score"]["interval95"]
        assert low < point["metrics"]["clip_score"] < high
        assert point["metrics"]["fid7"] > 0
        assert point["latency"]["stages_s_per_image"]["pipeline"] > 0
        assert ("against 0/1: FID" in point["paired"]["verdict"]) if point["fractions"][0] else point["paired"] is None
    assert (out / "curve.png").is_file() and (out / "strip.png").is_file()

    # A point is the run that scripts.prompts makes of the same settings.
    alone = [*arguments(weights, tmp_path / "alone"), "call.height=32", "call.width=32", "call.num_inference_steps=4",
             "stitch.fraction=0.5"]  # fmt: skip
    assert run_here(capfd, monkeypatch, "prompts", *alone).code == 0
    point = next(p for p in sweep["points"] if p["fractions"] == [0.5, 0.5] and p["num_steps"] == 4)
    assert (out / point["run"] / "samples.npz").read_bytes() == (tmp_path / "alone" / "samples.npz").read_bytes()

    again = run_here(capfd, monkeypatch, "sweep_prompts", *settings(weights, out, "num_steps=[2,4]"))
    assert again.code == 0 and "latency:" not in again.out, "nothing is sampled, scored or timed twice"
    outcome = run_here(capfd, monkeypatch, "report", f"sweep={out}", f"out={tmp_path / 'page.html'}")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "page.md").read_text()
    assert "small to large" in page and "python -m scripts.sweep_prompts" in page and "CLIP score" in page


def test_metrics_that_are_there_are_kept(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    """FID after the CLIP score leaves both, with the difference from another run; another bootstrap replaces them."""
    for name, fraction in {"zero": 0, "half": 0.5}.items():
        own = [*arguments(weights, tmp_path / name), "call.height=32", "call.width=32", f"stitch.fraction={fraction}"]
        assert run_here(capfd, monkeypatch, "prompts", *own).code == 0
    digits = [f"run={tmp_path / 'half'}", f"reference={ZOO / 'reference.npz'}", "extractor=digits"]
    aligned = [f"clip={weights / 'clip'}", "metrics=[clip_score]", f"against={tmp_path / 'zero'}"]
    for more in (aligned, ["metrics=[fid]", "bootstrap=5"], ["metrics=[kid]", "bootstrap=5"]):
        assert run_here(capfd, monkeypatch, "evaluate", *digits, *more).code == 0
    result = json.loads((tmp_path / "half" / "result.json").read_text())
    assert {"clip_score", "fid7", "kid7"} <= result["metrics"].keys()
    assert result["asked"]["metrics"] == ["clip_score", "fid", "kid"]
    assert result["against"]["verdict"].startswith("difference ")
    assert run_here(capfd, monkeypatch, "evaluate", *digits, "metrics=[fid]", "bootstrap=6").code == 0
    result = json.loads((tmp_path / "half" / "result.json").read_text())
    assert list(result["metrics"]) == ["fid7"]


@pytest.mark.long
def test_ranks_walk_the_points_of_prompts(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    for name, more in {"one": [], "two": ["ranks=2"]}.items():
        own = settings(weights, tmp_path / name, "samplers=[DDIMScheduler,EulerAncestralDiscreteScheduler]", *more)
        outcome = run(*PYTHON, "-m", "scripts.sweep_prompts", *own)
        assert outcome.code == 0, outcome.err
    points = [json.loads((tmp_path / name / "sweep.json").read_text())["points"] for name in ("one", "two")]
    assert len(points[0]) == 6
    for one, two in zip(*points, strict=True):
        assert (tmp_path / "one" / one["run"] / "samples.npz").read_bytes() == (
            tmp_path / "two" / two["run"] / "samples.npz"
        ).read_bytes()
        assert one["metrics"] == two["metrics"]


def test_times_alone_stand_beside_the_papers(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    """Figure 16 in small: no metrics, so nothing of an evaluation is needed."""
    own = [f"large={weights / 'large'}", f"small=[{weights / 'small'}]", "call.height=16", "call.width=16",
           "call.num_inference_steps=4", "precision=float32", "latency.repeats=2", "fractions=[0,0.5]",
           "prompts=figure_16", f"out={tmp_path / 'sweep'}"]  # fmt: skip
    outcome = run_here(capfd, monkeypatch, "sweep_prompts", *own)
    assert outcome.code == 0, outcome.err
    outcome = run_here(
        capfd, monkeypatch, "table", "name=figure_16", f"sweep={tmp_path / 'sweep'}", f"out={tmp_path / 'tables'}"
    )
    assert outcome.code == 0, outcome.err
    (row, _) = csv.DictReader((tmp_path / "tables" / "figure_16.csv").open())
    assert float(row["s per image here"]) > 0 and row["s per image paper"] == "1.54"
    outcome = run_here(capfd, monkeypatch, "report", f"sweep={tmp_path / 'sweep'}")
    assert outcome.code == 0, outcome.err
    assert "time_fraction" in (tmp_path / "sweep" / "report.md").read_text()
    # Without its weights, the paper's numbers are there all the same, and what is missing.
    outcome = run_here(capfd, monkeypatch, "table", "name=table_2", f"out={tmp_path / 'tables'}")
    assert "give one of captions=FILE and prompt" in outcome.out
    captions = f"captions={weights / 'captions.txt'}"
    outcome = run_here(capfd, monkeypatch, "table", "name=table_2", captions, f"out={tmp_path / 'tables'}")
    assert outcome.code == 0, outcome.err
    assert "weights are local files only" in outcome.out
    (row,) = [row for row in csv.DictReader((tmp_path / "tables/table_2.csv").open()) if row["fractions"] == "0.3/0.7"]
    assert (row["FID paper"], row["CLIP paper"], row["s per image paper"]) == ("12.54", "0.291", "2.8")


def test_mistakes_are_one_line_before_anything_is_made(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    own = settings(weights, tmp_path / "out")
    mistakes = {
        "stitch.counts=[1,3]": "stitch.counts has no meaning in it",
        "also=[{orders:[interleave]}]": "unknown key 'also.0.orders'; known in also.0: fractions, guidance_scales",
        "samplers=[DDIM]": "unknown scheduler 'DDIM'; known: ",
        "evaluation.clip=nowhere": "nowhere holds no model.safetensors",
        "evaluation.reference=nowhere.npz": "nowhere.npz does not exist",
    }
    for change, message in mistakes.items():
        check_one_line(run_here(capfd, monkeypatch, "sweep_prompts", *own, change), message)
    assert not (tmp_path / "out").exists()
    dry = run_here(capfd, monkeypatch, "sweep_prompts", *own, "dry_run=true")
    assert dry.code == 0 and dry.out.count("7 images to make") == 3, dry.err
    assert not (tmp_path / "out").exists()


def test_the_captions_of_a_point_are_those_of_its_images(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    own = settings(weights, tmp_path / "out", "fractions=[0.5]", "num_images=9", "evaluation.metrics=[clip_score]")
    assert run_here(capfd, monkeypatch, "sweep_prompts", *own).code == 0
    (point,) = (tmp_path / "out" / "points").iterdir()
    rows = list(csv.DictReader((point / "clip_score.csv").open()))
    assert [row["caption"] for row in rows] == [*CAPTIONS, *CAPTIONS[:2]]
    with np.load(point / "samples.npz") as file:
        assert file["arr_0"].shape == (9, 32, 32, 3)
