"""The sweep's driver against what happens: points that fail, processes that die, torchrun for each point."""

import fcntl
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.scripts.command import PYTHON, run, start

TINY = ["num_images=16", "batch_size=8", "sampler.num_steps=3", "latency.repeats=1", "pair.evaluation.bootstrap=5"]
SWEEP = [*PYTHON, "-m", "scripts.sweep", *TINY, "fractions=0:1:0.25"]


def without_times(directory: Path) -> str:
    """`sweep.json` without what a clock measured."""
    sweep = json.loads((directory / "sweep.json").read_text())
    for point in sweep["points"]:
        del point["latency"]
    return json.dumps(sweep, indent=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("driver") / "sweep"
    outcome = run(*SWEEP, f"out={directory}")
    assert outcome.code == 0, outcome.err
    return directory


@pytest.mark.long
def test_started_again_it_writes_the_same_bytes_and_loads_no_network(finished: Path) -> None:
    before, times = (finished / "sweep.json").read_bytes(), (finished / "sweep.json").stat().st_mtime_ns
    points = {path: path.stat().st_mtime_ns for path in finished.glob("points/*/*") if path.is_file()}
    outcome = run(*SWEEP, f"out={finished}")
    assert outcome.code == 0, outcome.err
    assert (finished / "sweep.json").read_bytes() == before
    assert (finished / "sweep.json").stat().st_mtime_ns > times
    assert {path: path.stat().st_mtime_ns for path in points} == points


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_ends_with_the_same_sweep(tmp_path: Path, finished: Path, seed: int) -> None:
    """Moments from when the first points are begun to just before the end, for each launch anew."""
    out, rng, kills = tmp_path / "sweep", random.Random(seed), 0
    while True:
        process = start(*SWEEP, f"out={out}")
        while process.poll() is None and not list(out.glob("points/*")):
            time.sleep(0.05)
        try:
            process.communicate(timeout=rng.uniform(0, 1.5))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        if kills > 30:
            break
    assert run(*SWEEP, f"out={out}").code == 0
    assert kills >= 1
    assert without_times(out) == without_times(finished)


@pytest.mark.long
def test_a_point_that_fails_leaves_the_others(tmp_path: Path, finished: Path) -> None:
    out = tmp_path / "sweep"
    shutil.copytree(finished, out)
    broken = next(path for path in sorted((out / "points").iterdir()) if "-0.333" in path.name)
    (broken / "samples.npz").unlink()
    with (broken / ".lock").open("a+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        outcome = run(*SWEEP, f"out={out}")
    assert outcome.code == 1
    assert "1 of 4 points failed; the same command tries them again:" in outcome.err
    assert "in use by another launch" in outcome.err.splitlines()[-1]
    assert len(json.loads((out / "sweep.json").read_text())["points"]) == 3
    assert run(*SWEEP, f"out={out}").code == 0
    assert (out / "sweep.json").read_bytes() == (finished / "sweep.json").read_bytes()


@pytest.mark.long
def test_one_torchrun_goes_through_all_points_and_a_failure_leaves_the_others(tmp_path: Path, finished: Path) -> None:
    """The second point of three is locked: torchrun ends there, and starts anew for the third."""
    out, fractions = tmp_path / "sweep", "fractions=[0,0.25,1]"
    names = [Path(p["run"]).name for p in json.loads((finished / "sweep.json").read_text())["points"]]
    locked = out / "points" / names[1]
    locked.mkdir(parents=True)
    with (locked / ".lock").open("a+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        outcome = run(*SWEEP, fractions, "ranks=2", f"out={out}")
    assert outcome.code == 1
    assert "1 of 3 points failed" in outcome.err
    assert "in use by another launch" in outcome.err
    assert len(json.loads((out / "settings/points.json").read_text())["points"]) == 1, "started anew after the failure"
    outcome = run(*SWEEP, fractions, "ranks=2", f"out={out}")
    assert outcome.code == 0, outcome.err
    for path in (out / "points").iterdir():
        assert (path / "samples.npz").read_bytes() == (finished / "points" / path.name / "samples.npz").read_bytes()
    scores = {tuple(p["fractions"]): p["metrics"] for p in json.loads((finished / "sweep.json").read_text())["points"]}
    for point in json.loads((out / "sweep.json").read_text())["points"]:
        assert point["metrics"] == pytest.approx(scores[tuple(point["fractions"])])


@pytest.mark.long
def test_a_killed_driver_takes_its_torchrun_with_it(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    settings = ["fractions=[0]", "num_images=4000", "sampler.num_steps=50", "ranks=1", f"out={out}"]
    process = start(*SWEEP, *settings)
    deadline = time.monotonic() + 120
    while not list(out.glob("points/*/shards/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.communicate()
    time.sleep(3)
    there = len(list(out.glob("points/*/shards/*.npz")))
    assert there > 0
    time.sleep(3)
    assert len(list(out.glob("points/*/shards/*.npz"))) == there


@pytest.mark.long
def test_a_sweep_does_not_start_under_torchrun() -> None:
    launcher = [*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "scripts.sweep"]
    outcome = run(*launcher, *TINY, "fractions=[1]")
    assert outcome.code != 0
    assert "a sweep starts without torchrun; ranks=N runs its points under torchrun" in outcome.err
