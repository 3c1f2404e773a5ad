"""All 1,024 schedules of ten segments, and what the rules choose among them."""

import json
from pathlib import Path

import pytest

from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line


@pytest.mark.long
def test_no_rule_beats_the_best_schedule_of_its_cost(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = ["analysis=schedules", "num_images=1", "sampler.num_steps=10", f"out={tmp_path}"]
    outcome = run_here(capfd, monkeypatch, "analyse", *arguments)
    assert outcome.code == 0, outcome.err
    data = json.loads((tmp_path / "schedules.json").read_text())["data"]
    errors = data["errors"]
    assert list(errors) == ["first", "last", "track", "weighted track", "best", "mean"]
    for name, values in errors.items():
        assert len(values) == 11
        assert values[0] == 0, "no step of the small model"
        assert values[10] == errors["best"][10], "one schedule alone has none of the large model"
        assert all(own >= best for own, best in zip(values, errors["best"], strict=True)), name
    assert 0 < data["correlation"] <= 1


def test_other_steps_or_models_are_one_line(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = ["analysis=schedules", "sampler.num_steps=12", "num_images=1", f"out={tmp_path}"]
    outcome = run_here(capfd, monkeypatch, "analyse", *arguments)
    check_one_line(outcome, "needs two denoisers and a multiple of 10 steps, got 2 and 12")
