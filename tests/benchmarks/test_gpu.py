"""`make gpu`: parts run whatever becomes of the others, in a limited time, and their outcomes are kept."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import TOTAL_S, Part, gpu_parts, run_parts, slug
from tests.conftest import ROOT
from tests.scripts.command import PYTHON, run

SLEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_without_a_gpu_it_ends_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("here is one")
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    outcome = run(*PYTHON, "-m", "benchmarks.gpu")
    assert (outcome.code, outcome.err) == (2, "error: make gpu needs an NVIDIA GPU, and PyTorch sees none\n")
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    parts = [
        Part("fails", python("print('reason'); raise SystemExit(3)"), 60),
        Part("writes", python(f"open({str(numbers)!r}, 'w').write('{{\"seconds\": 1}}')"), 60, numbers),
        Part("writes nothing", python("print('5 passed')"), 60, tmp_path / "none.json"),
    ]
    outcomes = run_parts([parts[:2], parts[2:]], 120)
    assert [own.outcome for own in outcomes.values()] == ["failed", "passed", "passed"]
    assert outcomes["fails"].output_tail == "reason"
    assert outcomes["writes"].output_tail is None
    assert [own.numbers for own in outcomes.values()] == [None, {"seconds": 1}, None]


def test_a_part_that_takes_too_long_is_ended_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    content = json.dumps({"a": [1]})
    writes = f"open({str(numbers)!r}, 'w').write({content!r}); {SLEEPER}"
    outcomes = run_parts([[Part("long", python(writes), 3, numbers)], [Part("next", python(""), 60)]], 60)
    assert [own.outcome for own in outcomes.values()] == ["timed out", "passed"]
    assert outcomes["long"].numbers == {"a": [1]}
    assert outcomes["long"].seconds < 20


def test_parts_of_a_group_run_at_once(tmp_path: Path) -> None:
    """Each of the two waits for the file that the other one writes."""
    code = "import pathlib, time; pathlib.Path({!r}).touch()\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.05)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    parts = [Part("one", python(code.format(one, two)), 30), Part("two", python(code.format(two, one)), 30)]
    assert [own.outcome for own in run_parts([parts], 60).values()] == ["passed", "passed"]


def test_parts_share_one_time(tmp_path: Path) -> None:
    outcomes = run_parts([[Part("long", python(SLEEPER), 600)], [Part("next", python(""), 60)]], 2)
    assert [own.outcome for own in outcomes.values()] == ["timed out", "timed out"]
    assert outcomes["next"].summary == "no time was left"


def test_the_parts_are_what_is_promised(tmp_path: Path) -> None:
    groups = gpu_parts(tmp_path)
    parts = {part.name: part for group in groups for part in group}
    assert list(parts) == ["tests", "rehearsal", "latency", "layout", "sampler"]
    assert TOTAL_S < 600
    assert sum(max(part.limit_s for part in group) for group in groups[:-1]) < TOTAL_S - 150
    assert [[part.name for part in group] for group in groups[1:]] == [["latency"], ["layout"], ["sampler"]]
    assert "tests/test_rehearsal.py" in parts["rehearsal"].command


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NVIDIA H100 80GB HBM3", "nvidia_h100_80gb_hbm3"), ("Tesla T4", "tesla_t4"), ("A/B (C)", "a_b_c")],
)
def test_a_devices_name_as_a_files(name: str, expected: str) -> None:
    assert slug(name) == expected
