"""The gain of each model more: fronts by number of models, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.influence import fid_spread
from evaluation.metrics.statistics import statistics
from evaluation.report.model_fronts import Scored, draw_model_fronts, model_fronts_table, num_models, times_of
from evaluation.report.sweep import Point
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line


def scored(points: list[tuple[list[float], float, float]]) -> Scored:
    """Points of (shares, ms, shift): the FID of each is about its shift squared, with the same noise."""
    noise = np.random.default_rng(0).normal(size=(400, 3))
    reference = statistics(np.random.default_rng(1).normal(size=(50_000, 3)))
    times = [{f"seconds_per_image{end}": ms / 1000 for end in ("", "_min", "_max")} for _, ms, _ in points]
    made = [
        Point(shares, 1.5, "ddim", 10, "small_to_large", "steps", [0], {"fid4": 1.0}, time)
        for (shares, _, _), time in zip(points, times, strict=True)
    ]
    fids = fid_spread((noise + np.eye(3)[0] * shift for _, _, shift in points), reference)
    return Scored(made, fids, ["a"] * len(points))


THREE = scored(
    [
        ([1, 0, 0], 1, 4),
        ([0, 0, 1], 16, 1),
        ([0.5, 0, 0.5], 8, 1.5),
        ([0.5, 0.5, 0], 4, 3),
        ([0.4, 0.3, 0.3], 7, 1.2),  # better than the pair, in less time
        ([0.8, 0.1, 0.1], 6, 5),  # worse than all
    ]
)


def test_fronts_have_at_most_so_many_models() -> None:
    assert [num_models(point) for point in THREE.points] == [1, 1, 2, 2, 3, 3]
    assert THREE.most_models == 3
    assert [THREE.front(count) for count in (1, 2, 3)] == [[0, 1], [0, 3, 2, 1], [0, 3, 4, 1]]
    assert [THREE.best_within(0.0081, count) for count in (1, 2, 3)] == [0, 2, 4]
    assert THREE.best_within(0.0005, 3) is None
    times = times_of(THREE)
    assert (times[0], times[-1], len(times)) == (0.001, 0.016, 8)


def test_the_table_says_what_a_model_more_gains() -> None:
    table = model_fronts_table(THREE)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["1.0"]["gain of model 2"] == rows["16.0"]["gain of model 3"] == "0"
    assert rows["7.2"]["steps, two models"] == "0.5/0.5/0 of 10" and rows["7.2"]["steps"] == "1/0/0 of 10"
    assert rows["7.2"]["steps, three models"] == "0.4/0.3/0.3 of 10"
    gain = float(rows["7.2"]["gain of model 3"].split()[0])
    assert gain == pytest.approx(1.2**2 - 3**2, abs=0.6)
    assert table.notes[0].startswith("Model 2 lowers FID by more than the 95% interval at 3 of 8 times")
    assert table.notes[1].startswith("Model 3 lowers FID by more than the 95% interval at 2 of 8 times")
    labels = [text.get_text() for text in draw_model_fronts(THREE).axes[0].get_legend().get_texts()]
    assert labels == ["one model", "up to two models", "up to three models"]


def test_fronts_without_a_model_alone_and_of_one_point() -> None:
    pair = scored([([0.5, 0.5], 2, 1), ([0.6, 0.4], 1, 2)])
    table = model_fronts_table(pair)
    assert [row[1] for row in table.rows] == [None] * len(table.rows) and len(table.notes) == 1
    labels = [text.get_text() for text in draw_model_fronts(pair).axes[0].get_legend().get_texts()]
    assert labels == ["up to two models"]
    assert len(model_fronts_table(scored([([1, 0], 2, 1)])).rows) == 1


def test_the_command_reads_sweeps_of_one_noise(capfd, monkeypatch, tmp_path: Path) -> None:
    tiny = ["num_images=24", "batch_size=24", "sampler.num_steps=4", "latency.repeats=1"]
    sweeps = [tmp_path / "a", tmp_path / "b"]
    for place, fractions in zip(sweeps, ("[0,1]", "[0.5]"), strict=True):
        outcome = run_here(capfd, monkeypatch, "sweep", *tiny, f"fractions={fractions}", f"out={place}")
        assert outcome.code == 0, outcome.err
    out = tmp_path / "page"
    outcome = run_here(capfd, monkeypatch, "fronts", f"sweeps=[{sweeps[0]},{sweeps[1]}]", f"out={out}")
    assert outcome.code == 0, outcome.err
    again = run_here(capfd, monkeypatch, "fronts", f"sweeps=[{sweeps[0]},{sweeps[1]}]", f"out={out}")
    assert again.code == 0, "its own page is replaced"
    assert "FID, two models" in outcome.out and "three" not in outcome.out
    assert {path.name for path in out.iterdir()} == {"fronts.md", "fronts.csv", "fronts.png"}
    content = json.loads((sweeps[1] / "sweep.json").read_text())
    content["protocol"]["seed"] = 5
    (sweeps[1] / "sweep.json").write_text(json.dumps(content))
    outcome = run_here(capfd, monkeypatch, "fronts", f"sweeps=[{sweeps[0]},{sweeps[1]}]", f"out={tmp_path / 'p'}")
    check_one_line(outcome, "the same noise, evaluation and machine")
    point = json.loads((sweeps[0] / "sweep.json").read_text())["points"][0]
    result = sweeps[0] / point["run"] / "result.json"
    scored_now = json.loads(result.read_text())
    scored_now["asked"]["metrics"] = ["inception_score"]
    result.write_text(json.dumps(scored_now))
    outcome = run_here(capfd, monkeypatch, "fronts", f"sweeps=[{sweeps[0]}]", f"out={tmp_path / 'p'}")
    check_one_line(outcome, "result.json has no FID; the sweep's command makes it anew")
    scored_now["asked"] |= {"metrics": ["fid"], "reference": str(sweeps[1] / point_of(sweeps[1]) / "samples.npz")}
    result.write_text(json.dumps(scored_now))
    outcome = run_here(capfd, monkeypatch, "fronts", f"sweeps=[{sweeps[0]}]", f"out={tmp_path / 'p'}")
    check_one_line(outcome, " in the sweep; the sweep's command scores it anew")


def point_of(sweep: Path) -> str:
    return json.loads((sweep / "sweep.json").read_text())["points"][0]["run"]
