"""Every experiment of the paper at tiny size, and the tables that come out."""

import csv
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments.experiment_files import paper_pair, zoo_pair
from settings.names import OF_PAPER
from tests.conftest import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

EXPERIMENTS = OF_PAPER
FINETUNED = ("table6_all", "table6_interval")  # their weights are not shipped
TINY = ["pairs=digits", "num_images=8", "batch_size=8", "num_steps=4", "step_counts=[2,4]", "fractions=0:1:0.5"]


def make(capfd, monkeypatch, tmp_path: Path, *arguments: str):
    places = [f"out={tmp_path / 'tables'}", f"points={tmp_path / 'points'}"]
    return run_here(capfd, monkeypatch, "table", *arguments, *places)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in ("table8", *FINETUNED)])
def test_every_experiment_runs_on_the_zoo(capfd, monkeypatch, tmp_path: Path, name: str) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, f"name={name}", "pairs=fashion", *TINY[1:])
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "tables" / f"{name}.md").read_text()
    paper = OmegaConf.load(ROOT / "configs/experiment" / f"{name}.yaml").paper
    assert page.startswith(f"## {paper.title}\n")
    assert ("section" in paper) == ("The paper's numbers and settings: docs/paper.md, \"" in page)
    if paper.kind == "analysis":
        assert "Without effect here: num_images=8" in page
    else:
        assert f"python -m scripts.table name={name} pairs=fashion num_images=8" in page
    rows = list(csv.reader((tmp_path / "tables" / f"{name}.csv").open()))
    assert len(rows) > 1
    assert all(len(row) == len(rows[0]) for row in rows)
    assert r"\toprule" in (tmp_path / "tables" / f"{name}.tex").read_text()
    if paper.kind != "analysis":
        assert "protocols differ: data: imagenet256 in the paper, fashion here" in page
        assert " PFLOPs in the denoisers" in page
    if paper.kind != "models" and name != "table6_pretrained":  # which has one point
        assert (tmp_path / "tables" / f"{name}.png").stat().st_size > 5000
        assert (tmp_path / "tables" / f"{name}.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("name", FINETUNED)
def test_a_table_of_weights_that_are_not_shipped_names_them(capfd, monkeypatch, tmp_path: Path, name: str) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, f"name={name}", "pairs=fashion", *TINY[1:])
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "tables" / f"{name}.md").read_text()
    kind = name.removeprefix("table6_")
    assert f"runs/finetuned/fashion/{kind}/dit_xl.safetensors" in page
    assert "| 0.5/0.3/0.2 | 1" in page, "the paper's numbers"


@pytest.mark.long
def test_memory_is_measured_in_a_process_for_each_point(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, "name=table8", *TINY)
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((tmp_path / "tables" / "table8.csv").open()))
    small, large, both = rows
    assert float(both["parameters (M) here"]) == pytest.approx(
        float(small["parameters (M) here"]) + float(large["parameters (M) here"]), rel=1e-2
    )
    assert all(float(row["peak memory (MB) here"]) > 100 for row in rows)
    assert len({row["peak memory (MB) here"] for row in rows}) > 1, "in one process, it would be the largest for all"


def test_points_are_shared_and_never_run_twice(capfd, monkeypatch, tmp_path: Path) -> None:
    assert make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", *TINY).code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("points/*/samples.npz")}
    outcome = make(capfd, monkeypatch, tmp_path, "name=table7", *TINY)
    assert outcome.code == 0, outcome.err
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("points/*/samples.npz")}
    assert len(before) == 3
    assert 5 <= len(after) <= 6, "the half that small to large takes is there already"
    assert before.items() <= after.items()


def test_without_weights_the_table_says_which_and_what_it_would_cost(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, "name=table9")
    assert outcome.code == 0, outcome.err
    assert "| 0.4/0.6 | 8.95 | 0.8 | 0.75 | 11 |" in outcome.out
    assert "weights/dit_s_256.pt do not exist" in outcome.out
    assert "Cost: 11 points of 5,000 images" in outcome.out
    outcome = make(capfd, monkeypatch, tmp_path, "name=table3")
    assert "| dit_xl | DiT-XL | 675.1 | 675.1 | 114.4 | 114.5 |" in outcome.out


def test_a_setting_without_effect_is_named(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, "name=table8", "num_images=8", "fractions=0:1:0.5", "precision=bf16")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "tables/table8.md").read_text()
    assert "Without effect here: num_images=8, fractions=0:1:0.5." in page
    assert "python -m scripts.table name=table8 pairs=imagenet precision=bf16\n" in page


def test_a_finished_sweep_is_judged_where_its_protocol_is_the_papers(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", *TINY)
    assert outcome.code == 0, outcome.err
    found = tmp_path / "fig5_s_xl-digits"
    sweep = json.loads((found / "sweep.json").read_text())
    for point, fid in zip(sweep["points"], (9.3, 12.0, 33.0), strict=True):
        point |= {"metrics": {"fid5k": fid, "inception_score": 100.0}, "num_steps": 100, "guidance_scale": 1.5}
    extractor = {"extractor": "inception-v3-compat", "reference": "VIRTUAL_imagenet256_labeled.npz"}
    sweep["protocol"] |= {"num_images": 5000, "pair": "dit_s_xl", **extractor}
    (found / "sweep.json").write_text(json.dumps(sweep))
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", f"sweep={found}")
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((tmp_path / "tables" / "fig5_s_xl.csv").open()))
    assert [row["within 0.74"] for row in rows] == ["yes", "no", "yes"]
    assert [row["difference"] for row in rows] == ["+0.11", "+1.91", "+0.04"]
    assert "The paper's FID stays within 10% up to 0.5." in outcome.out
    sweep["protocol"]["num_images"] = 1000
    (found / "sweep.json").write_text(json.dumps(sweep))
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", f"sweep={found}")
    assert "num images: 5000 in the paper, 1000 here" in outcome.out
    rows = list(csv.DictReader((tmp_path / "tables" / "fig5_s_xl.csv").open()))
    assert {row["within 0.74"] for row in rows} == {"-"}
    other = json.loads(json.dumps(sweep))
    other["points"] = [point | {"sampler": "dpmpp_2m"} for point in other["points"]]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/sweep.json").write_text(json.dumps(other))
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", f"sweep={tmp_path / 'other'}")
    assert "sampler: ddim in the paper, dpmpp_2m here" in outcome.out
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig5_s_xl", f"sweep={found}", "mix_protocols=true")
    rows = list(csv.DictReader((tmp_path / "tables" / "fig5_s_xl.csv").open()))
    assert {row["within 0.74"] for row in rows} == {"yes", "no"}
    assert "Judged although the protocols differ" in outcome.out
    page = (tmp_path / "tables" / "fig5_s_xl.md").read_text()
    assert f"sweep={found} mix_protocols=true" in page and "Cost: " not in page, "it is of that sweep, and cost nothing"


def test_mistakes_are_one_line(capfd, monkeypatch, tmp_path: Path) -> None:
    check_one_line(make(capfd, monkeypatch, tmp_path, "name=table99"), "unknown experiment 'table99'; known: fig11")
    check_one_line(make(capfd, monkeypatch, tmp_path, "name=fig5", "sweep=x"), "name=fig5 is 3: fig5_b_xl")
    outcome = make(capfd, monkeypatch, tmp_path, "name=fig3", "pairs=fashion", "sweep=x")
    check_one_line(outcome, "sweep= has no meaning for name=fig3: it is an analysis, which reads no sweep")
    assert not (tmp_path / "tables").exists()
    outcome = make(capfd, monkeypatch, tmp_path, "pairs=cifar")
    check_one_line(outcome, "pairs must be one of imagenet, digits, fashion, got")
    outcome = run_here(capfd, monkeypatch, "sweep", "experiment=fig3", "pair=fashion_dit_s_b_xl")
    check_one_line(outcome, "this experiment is an analysis: python -m scripts.analyse analysis=similarity")


@pytest.mark.parametrize("paper", ["dit_s_xl", "dit_s_b_xl", "ldm_s_ldm"])
def test_a_pair_of_the_zoo_stands_for_one_of_the_paper(paper: str) -> None:
    own = zoo_pair("fashion", paper)
    assert (ROOT / "configs/pair" / f"{own}.yaml").is_file()
    assert paper_pair(own) == paper_pair(paper) == paper
