"""Pairs of two architectures and two noise schedules, from their configuration to their images."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

SMALL = ["pair=fashion_dit_s_unet_l", "num_images=3", "batch_size=3", "sampler.num_steps=4", "stitch.fraction=0.5"]


def images(out: Path) -> np.ndarray:
    with np.load(out / "samples.npz") as file:
        return file["arr_0"]


def test_the_large_model_gets_its_own_timesteps(capfd, monkeypatch, tmp_path: Path) -> None:
    for match in ("snr", "index"):
        assert run_here(capfd, monkeypatch, "sample", *SMALL, f"match={match}", f"out={tmp_path / match}").code == 0
    assert not np.array_equal(images(tmp_path / "snr"), images(tmp_path / "index"))
    record = json.loads((tmp_path / "snr" / "run.json").read_text())["identity"]
    assert record["denoisers"]["fashion_unet"]["schedule"]["kind"] == "scaled_linear"
    assert "schedule" not in record["denoisers"]["fashion_dit_s"], "it is on the trajectory's own"
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, "match=index", f"out={tmp_path / 'snr'}")
    check_one_line(outcome, "holds another run; it differs in")


def test_the_plan_says_where_a_schedule_ends(capfd, monkeypatch) -> None:
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, "dry_run=true", "tflops=1")
    assert "fashion_unet by signal to noise at t = 347.8..0.0 of its own schedule" in outcome.out
    assert "which does not reach t = 0 of the trajectory" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampler=ddpm"], "predict a variance for the trajectory's schedule, and fashion_unet does not; use sampler"),
        (["guidance.channels=[3,all,2]"], "guidance.channels needs one value or 2, got [3, 'all', 2]"),
        (["guidance.channels=[3,9]"], "guidance channels must be 'all' or 1..4, got 9"),
        (["pair.denoisers.l.prediction=x"], "pair.denoisers.l.prediction must be one of eps, v, flow, x0, got 'x'"),
        (["match=t"], "match must be one of snr, index, got 't'"),
    ],
)
def test_what_does_not_fit_is_named_before_the_work(capfd, monkeypatch, arguments: list[str], message: str) -> None:
    check_one_line(run_here(capfd, monkeypatch, "sample", *SMALL, *arguments), message)


def test_a_sweep_holds_each_way_to_match_against_the_large_model_matched_alike(
    capfd, monkeypatch, tmp_path: Path
) -> None:
    small = ["num_images=12", "batch_size=12", "sampler.num_steps=2", "latency.repeats=1"]
    for pair, num_points in (("fashion_dit_s_unet_l", 5), ("fashion_unet_s_dit_xl", 5)):
        grid = ["fractions=[0,0.5,1]", "matches=[snr,index]", f"out={tmp_path / pair}"]
        outcome = run_here(capfd, monkeypatch, "sweep", f"pair={pair}", *small, *grid)
        assert outcome.code == 0, outcome.err
        points = json.loads((tmp_path / pair / "sweep.json").read_text())["points"]
        assert len(points) == num_points, "the model on the trajectory's own schedule alone is one point"
        assert {point["router"] for point in points} == {"allocation", "allocation match=index"}
        assert sum(point["paired"] is None for point in points) == (2 if pair.endswith("unet_l") else 1)
