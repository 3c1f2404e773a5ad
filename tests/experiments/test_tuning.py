"""The guidance scale of each point, chosen on other images than those of the result."""

import json
from pathlib import Path

from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

TINY = ["num_images=16", "batch_size=16", "sampler.num_steps=3", "latency.repeats=1", "pair.evaluation.bootstrap=2"]
TUNE = "tune={guidance_scales: [1.0,4.0], num_images: 8, seed: 5}"
ML_EM = "{routers: [{kind: ml_em}], fractions: [0.34,0.67]}"
GRIDS = f"also=[{{routers: [{{kind: held, every: 2}}]}},{{fractions: [[0,1]], num_steps: [2]}},{ML_EM}]"


def test_each_point_has_the_scale_of_least_fid_on_the_other_seed(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [*TINY, TUNE, GRIDS, "fractions=[0,0.5,1]", f"out={out}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *arguments)
    assert outcome.code == 0, outcome.err
    tuned, found = (json.loads((place / "sweep.json").read_text())["points"] for place in (out / "tuning", out))
    assert len(tuned) == 2 * len(found) == 14
    for point in found:
        setting = _setting(point)
        at = {own["guidance_scale"]: own["metrics"]["fid8"] for own in tuned if setting == _setting(own)}
        assert len(at) == 2
        assert point["guidance_scale"] == min(at, key=at.get)
        assert "fid16" in point["metrics"]
    compared = [point for point in found if point["paired"] is not None]
    assert len(compared) == 5, "all five of the large model's steps, whatever their scale is"
    before = (out / "tuning/sweep.json").read_bytes()
    assert run_here(capfd, monkeypatch, "sweep", *arguments).code == 0
    assert (out / "tuning/sweep.json").read_bytes() == before


def _setting(point: dict) -> list:
    return [point["asked"][0]["fractions"], *(point[key] for key in ("num_steps", "router", "knob"))]


def test_what_would_choose_by_the_result_is_refused(capfd, monkeypatch, tmp_path: Path) -> None:
    out = f"out={tmp_path / 'out'}"
    same = run_here(capfd, monkeypatch, "sweep", *TINY, TUNE.replace("5}", "0}"), out)
    check_one_line(same, "tune.seed=0 is the sweep's own seed; give another")
    both = run_here(capfd, monkeypatch, "sweep", *TINY, TUNE, "guidance_scales=[1]", out)
    check_one_line(both, "tune chooses the guidance scale of each point, so guidance_scales has no meaning with it")
    also = run_here(capfd, monkeypatch, "sweep", *TINY, TUNE, "also=[{guidance_scales: [3]}]", out)
    check_one_line(also, "so guidance_scales has no meaning with it")
    assert not (tmp_path / "out").exists()
