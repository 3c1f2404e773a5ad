"""A sweep over routers: what each point turned out to be, and what the report says of it."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.point_latency import timed_images
from sampling.plan import Plan
from tests.conftest import ROOT
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.run import load_run
from tstitch.runs.shards import read_decisions

TINY = ["num_images=16", "batch_size=8", "sampler.num_steps=6", "latency.repeats=1", "pair.evaluation.bootstrap=2"]
ROUTERS = "{kind: held, every: 2},{kind: held, every: 3},{kind: probe, threshold: 0.03, every: 1},{kind: mdd}"
GRIDS = f"also=[{{routers: [{ROUTERS}]}},{{routers: [{{kind: ml_em}}], fractions: [0.5,0.75]}}]"


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "out"
    outcome = run(*PYTHON, "-m", "scripts.sweep", *TINY, "fractions=[0,0.5,1]", GRIDS, f"out={out}")
    assert outcome.code == 0, outcome.err
    return out


def test_a_sweep_over_routers_measures_their_mix(out: Path) -> None:
    points = json.loads((out / "sweep.json").read_text())["points"]
    found = {(p["router"].split()[0], p["knob"] or p["fractions"][0]): p for p in points}
    assert [key for key in found if key[0] != "ml_em"] == [
        ("allocation", 0.0), ("allocation", 0.5), ("allocation", 1.0), ("held", "every=2"), ("held", "every=3"),
        ("probe", "threshold=0.03"), ("mdd", "threshold=0.005"),
    ]  # fmt: skip
    held = found["held", "every=2"]
    assert held["fractions"] == [0.5, 0.5] and held["allocation"] == [] and held["decisions"] == {}
    assert list(held["evaluations"].values()) == [12, 6], "guided: the small one at 6 steps, the large one at 3"
    assert found["held", "every=3"]["fractions"] == pytest.approx([2 / 3, 1 / 3])
    probe = found["probe", "threshold=0.03"]
    assert sum(probe["decisions"]["switch_step"]) == 16 and probe["paired"] is not None
    assert found["allocation", 0.0]["paired"] is None, "the large model alone is what the others are compared with"
    large_steps = [p["decisions"]["large_steps"] for key, p in found.items() if key[0] == "ml_em"]
    assert large_steps == [[0, 0, 0, 16], [0, 0, 16]], "systematic draws: all images have 3 of 6 steps, or 2"


def test_the_images_that_are_timed_cost_what_all_do(out: Path) -> None:
    """The first ones may have decided otherwise; where there is nothing to decide the first ones are timed."""
    points = json.loads((out / "sweep.json").read_text())["points"]
    own = {p["router"].split()[0]: p for p in points}
    for name, is_chosen in {"allocation": False, "probe": True, "mdd": True}.items():
        assert ("images" in own[name]["latency"]) == is_chosen
    run = load_run(out / own["probe"]["run"])
    counts = read_decisions(run.shards, run.blocks, run.id)["evaluations"]
    plan = SimpleNamespace(allocation=None, __class__=Plan)
    chosen = timed_images(plan, run, 8)
    assert len(set(chosen)) == 8
    by_cost = np.sort(counts[:, 1])
    assert np.sort(counts[chosen, 1]).tolist() == by_cost[1::2].tolist()
    assert abs(counts[chosen, 1].mean() - counts[:, 1].mean()) <= np.abs(np.diff(by_cost)).max()


def test_its_tables_and_its_page_name_router_and_knob(capfd, monkeypatch, out: Path) -> None:
    rows = list(csv.DictReader((out / "sweep.csv").open()))
    held = next(row for row in rows if row["knob"] == "every=3")
    assert (held["router"], held["evaluations_of_digits_dit_xl"]) == ("held", "4.0")
    outcome = run_here(capfd, monkeypatch, "report", f"sweep={out}")
    assert outcome.code == 0, outcome.err
    assert re.search(r"Router mdd\. Guidance scale 1\.1: (the fastest|no faster one) of 2 points", outcome.out)
    assert "At threshold=0.005: large steps " in outcome.out
    assert re.search(r"Router held\. Guidance scale 1\.1: (the fastest|no faster one) of 3 points", outcome.out)
    assert (out / "report.html").read_text().count("held") > 2


def test_what_images_cost_does_not_depend_on_how_often_they_were_made(capfd, monkeypatch, out: Path) -> None:
    """A shard of each router is lost and made again: `run.json` counts it twice, the points do not."""
    before = json.loads((out / "sweep.json").read_text())["points"]
    for point in before:
        if point["router"] != "allocation":
            next(iter((out / point["run"] / "shards").glob("*.npz"))).unlink()
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, "fractions=[0,0.5,1]", GRIDS, f"out={out}")
    assert outcome.code == 0, outcome.err
    after = json.loads((out / "sweep.json").read_text())["points"]
    for old, new in zip(before, after, strict=True):
        assert new["fractions"] == old["fractions"] and new["evaluations"] == old["evaluations"]


@pytest.mark.parametrize(
    ("routers", "message"),
    [
        ("[{kind: prob}]", "routers.0.kind must be one of allocation, held, hybrid, knapsack"),
        ("[{every: 2}]", "routers.0.kind is missing; it must be one of"),
        ("[{kind: held, every: 0}]", "routers: held: every must be a whole number of 1 or more, got 0"),
        ("[{kind: held, evry: 2}]", "routers: held: unknown key 'evry'; did you mean every?"),
        ("[{kind: track}]", "routers: track: calibration is missing; it must be a path"),
        ("held", "routers must be a list of groups of settings, got 'held'"),
    ],
)
def test_a_router_that_cannot_be_is_one_line(capfd, monkeypatch, tmp_path: Path, routers: str, message: str) -> None:
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, f"routers={routers}", f"out={tmp_path / 'out'}")
    check_one_line(outcome, message)
    assert not (tmp_path / "out").exists()


def test_a_router_of_a_sweep_fits_its_other_settings(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = ["routers=[{kind: ml_em}]", "samplers=[ddim,dpmpp_2m]", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, *arguments)
    check_one_line(outcome, "would poison the history of sampler=dpmpp_2m")


def test_its_points_are_held_against_the_first_steps_for_the_small_model(capfd, monkeypatch, tmp_path, out) -> None:
    outcome = run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{out}]", f"out={tmp_path / 'page'}")
    assert outcome.code == 0, outcome.err
    again = run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{out}]", f"out={tmp_path / 'page'}")
    assert again.code == 0, "its own page is replaced"
    rows = list(csv.DictReader((tmp_path / "page/mixtures.csv").open()))
    points = json.loads((out / "sweep.json").read_text())["points"]
    assert len(rows) == len(points) and {row["sweep"] for row in rows} == {"digits_dit_s_xl, 6 steps"}
    for row, point in zip(rows, points, strict=True):
        assert float(row["FID"]) == pytest.approx(point["metrics"]["fid16"], rel=1e-4)
        counted = [float(row[name]) for name in ("evaluations of the small model", "of the large")]
        assert counted == pytest.approx([point["evaluations"].get(f"digits_dit_{own}", 0) for own in ("s", "xl")])
        assert float(row["diversity"]) > 0 and 0 <= float(row["recall"]) <= 1
        assert float(row["Inception Score"]) == pytest.approx(point["metrics"]["inception_score"], rel=1e-4)
        levels = point["paired"]["distance"] if point["paired"] else 0
        assert float(row["levels from the large model"]) == pytest.approx(levels, rel=1e-4)
        for metric in ("FID", "recall", "levels from the large model"):
            verdict = row[f"{metric} verdict"]
            assert verdict == "" if row["method"] == "small to large" else verdict in ("better", "open", "worse")
    assert "| held |" in (tmp_path / "page/mixtures.md").read_text()
    assert (tmp_path / "page/mixtures.png").stat().st_size > 10_000


def test_mixtures_need_fid_of_two_models_at_one_scale_of_each(capfd, monkeypatch, tmp_path, out: Path) -> None:
    content = json.loads((out / "sweep.json").read_text())
    content["points"].append(content["points"][1] | {"guidance_scale": 3.0})
    (tmp_path / "scales").mkdir()
    (tmp_path / "scales/sweep.json").write_text(json.dumps(content))
    outcome = run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{tmp_path / 'scales'}]", f"out={tmp_path / 'page'}")
    check_one_line(outcome, "0.5/0.5 several times, with other samplers or guidance; tune= chooses one")
    check_one_line(run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{tmp_path}]"), "holds no sweep")
    check_one_line(run_here(capfd, monkeypatch, "mixtures", "sweeps=[]"), "a list of paths, at least 1 of them")
    without = f"references=[{ROOT / 'models/zoo/fashion/reference.npz'}]"
    check_one_line(run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{out}]", without), "has no features; python -m")
    twice = "references=[models/zoo/digits/reference.npz,./models/zoo/digits/reference.npz]"
    check_one_line(run_here(capfd, monkeypatch, "mixtures", f"sweeps=[{out}]", twice), "a second reference of the extr")
