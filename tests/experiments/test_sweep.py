import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripts.command import run_here

SWEEP = ["fractions=[0,0.5,1]", "num_images=24", "batch_size=12", "sampler.num_steps=4", "latency.repeats=2"]


def test_sweep_then_report(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    outcome = run_here(capfd, monkeypatch, "sweep", *SWEEP, "guidance_scales=[1,1.5]", f"out={out}")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("against 0/1: FID ") == 4
    sweep = json.loads((out / "sweep.json").read_text())
    assert [point["fractions"] for point in sweep["points"]] == [[0, 1], [0.5, 0.5], [1, 0]] * 2
    assert [point["allocation"] for point in sweep["points"][:3]] == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    for point in sweep["points"]:
        assert point["metrics"]["fid24"] > 0
        assert 1 <= point["metrics"]["inception_score"] <= 10
        low, high = point["spread"]["fid24"]["interval95"]
        assert low < point["metrics"]["fid24"] < high
        assert ("0/1: FID " in point["paired"]["verdict"]) if point["fractions"][0] else point["paired"] is None
        latency = point["latency"]
        assert 0 < latency["seconds_per_image_min"] <= latency["seconds_per_image"] <= latency["seconds_per_image_max"]
    first, second = (out / point["run"] for point in sweep["points"][:2])
    compared = run_here(capfd, monkeypatch, "compare", f"a={first}", f"b={second}").out
    assert sweep["points"][1]["paired"]["verdict"].replace("0.5/0.5 against 0/1", "b against a") in compared
    large, half = (np.load(place / "samples.npz")["arr_0"].astype(float) for place in (first, second))
    distance = np.sqrt(np.square(large - half).mean())
    assert sweep["points"][1]["paired"]["distance"] == pytest.approx(distance, rel=1e-6)
    assert sweep["protocol"]["num_images"] == 24
    assert sweep["protocol"]["reference_num_images"] == 5000
    assert list(sweep["protocol"]["denoisers"]) == ["digits_dit_s", "digits_dit_xl"], "small to large"
    with (out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fractions"] for row in rows[:3]] == ["0/1", "0.5/0.5", "1/0"]
    assert rows[0]["distance_from_large"] == ""
    assert float(rows[1]["distance_from_large"]) == pytest.approx(distance, rel=1e-6)
    for name in ("curve.png", "strip.png"):
        assert min(Image.open(out / name).size) > 200

    outcome = run_here(capfd, monkeypatch, "report", f"sweeps=[{out}]", f"out={tmp_path / 'page.html'}")
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "page.md").read_text()
    links = re.findall(r"\]\((.*?)\)", text)
    assert "sweep/strip.png" in links
    assert "page_pictures/fid_time_scale_1.5.png" in links
    assert all((tmp_path / link).is_file() for link in links)
    assert text.count("| 0.5/0.5 | 0.5 |") == 2


def test_finished_points_are_skipped_and_new_ones_added(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}").code == 0
    before = {path: path.stat().st_mtime_ns for path in out.glob("points/*/*.npz")}
    scores = json.loads((out / "sweep.json").read_text())["points"]
    outcome = run_here(capfd, monkeypatch, "sweep", *SWEEP, "fractions=[0,0.25,0.5,1]", f"out={out}")
    assert outcome.code == 0, outcome.err
    assert "at 1 points" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = json.loads((out / "sweep.json").read_text())["points"]
    assert [point for point in again if point["fractions"][0] != 0.25] == scores


def test_a_scan_of_guidance_scales_is_drawn_over_the_scale(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*SWEEP, "fractions=[1]", "guidance_scales=[1,2]", f"out={tmp_path / 'scan'}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    assert (tmp_path / "scan" / "curve.png").is_file()


def test_three_models(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*SWEEP, "pair=fashion_dit_s_b_xl", "fractions=[[0.25,0.25,0.5]]", f"out={tmp_path / 'three'}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    point = json.loads((tmp_path / "three" / "sweep.json").read_text())["points"][0]
    assert point["allocation"] == [0, 1, 2, 2]
    assert point["fractions"] == [0.25, 0.25, 0.5]
