import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tstitch.runs.fill
from tests.conftest import ROOT
from tstitch.errors import UserError
from tstitch.runs.fill import ShardWriter, find_missing, merge_all
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, check_run, load_run, locked, open_run
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock

IDENTITY = {"num_images": 10, "batch_size": 4, "seed": 0, "guidance": {"scale": 1.5}}
ONE_RANK = Ranks(0, 1, 0, 1)


def make_shard(block: Block) -> Shard:
    indices = np.arange(block.start, block.stop)
    return Shard(np.broadcast_to(indices[:, None, None, None], (len(block), 2, 2, 3)).astype(np.uint8), indices)


def test_id_depends_on_the_configuration_alone(tmp_path: Path) -> None:
    assert Run(tmp_path / "a", IDENTITY).id == Run(tmp_path / "b", dict(reversed(IDENTITY.items()))).id
    assert Run(tmp_path, {**IDENTITY, "seed": 1}).id != Run(tmp_path, IDENTITY).id


def test_directory_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    open_run(Run(tmp_path / "out", IDENTITY), {})
    open_run(Run(tmp_path / "out", IDENTITY), {})
    other = Run(tmp_path / "out", {**IDENTITY, "guidance": {"scale": 2.0}})
    with pytest.raises(UserError, match=r"another run; it differs in guidance.scale \(1.5 there, 2.0 here\)"):
        check_run(other)
    assert load_run(tmp_path / "out").identity == IDENTITY


def test_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"not empty and holds no run\.json"):
        check_run(Run(tmp_path, IDENTITY))
    with pytest.raises(UserError, match="is a file"):
        check_run(Run(tmp_path / "thesis.tex" / "run", IDENTITY))


@pytest.mark.parametrize("content", ["{", json.dumps({}), json.dumps({"identity": {"seed": 0}})])
def test_damaged_record_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError):
        load_run(tmp_path)


def fill(run: Run, make: Callable[[Block], Shard] = make_shard) -> list[Block]:
    """Fill a run on one rank; the blocks that it made."""
    clock = StageClock(torch.device("cpu"))
    missing = find_missing(run, ONE_RANK, (2, 2, 3), 12)
    with ShardWriter(run, clock) as writer:
        for block in missing:
            writer.write(block, make(block))
    merge_all(run, bool(missing), clock)
    return missing


def test_only_what_is_missing_is_made_and_merged_again(tmp_path: Path, capsys) -> None:
    run = Run(tmp_path / "out", IDENTITY)
    open_run(run, {})
    assert fill(run) == [Block(0, 4), Block(4, 8), Block(8, 10)]
    complete = run.samples.read_bytes()
    with np.load(run.samples) as merged:
        assert merged["arr_1"].tolist() == list(range(10))

    assert fill(run) == []
    (run.shards / Block(4, 8).name).write_bytes(b"torn")
    run.samples.unlink()
    assert fill(run) == [Block(4, 8)]
    assert "set aside" in capsys.readouterr().out
    assert run.samples.read_bytes() == complete


def test_a_shard_is_written_while_the_next_one_is_made(tmp_path: Path, monkeypatch) -> None:
    run, begun = Run(tmp_path / "out", IDENTITY), threading.Event()
    write = tstitch.runs.fill.write_shard

    def wait_and_write(directory: Path, block: Block, shard: Shard, run_id: str) -> None:
        assert begun.wait(10), "the second shard is not begun before the first one is written"
        write(directory, block, shard, run_id)

    def make(block: Block) -> Shard:
        if block.start > 0:
            begun.set()
        return make_shard(block)

    monkeypatch.setattr(tstitch.runs.fill, "write_shard", wait_and_write)
    open_run(run, {})
    fill(run, make)
    assert run.samples.is_file()


def test_a_finished_shard_is_kept_when_the_next_one_fails(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", IDENTITY)

    def make(block: Block) -> Shard:
        if block.start == 8:
            raise KeyboardInterrupt
        return make_shard(block)

    open_run(run, {})
    with pytest.raises(KeyboardInterrupt):
        fill(run, make)
    assert sorted(path.name for path in run.shards.iterdir()) == [Block(0, 4).name, Block(4, 8).name]


def test_measurements_of_earlier_launches_stay(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", IDENTITY)
    open_run(run, {"device_name": "a"})
    write_json(run.record, {**read_json(run.record), "seconds": {"autoencoder": 1.5}})
    open_run(run, {"device_name": "b"})
    assert read_json(run.record)["seconds"] == {"autoencoder": 1.5}
    assert read_json(run.record)["device_name"] == "b"


def test_too_little_space_is_said_before_anything_is_made(tmp_path: Path, monkeypatch) -> None:
    run = Run(tmp_path / "out", IDENTITY)
    open_run(run, {})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=r"free, but what is missing of the run \(20 images\) needs"):
        fill(run)
    assert not list(run.shards.iterdir())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        holder = f"process {os.getpid()} on "
        code = (
            "import sys, pathlib; from tstitch.runs.run import locked; from tstitch.errors import UserError\n"
            "try:\n with locked(pathlib.Path(sys.argv[1])): print('in')\nexcept UserError as e: print(e)"
        )
        command = [sys.executable, "-c", code, tmp_path / "out"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert f"out is in use by another launch ({holder}" in done.stdout
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "in\n"


@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_the_result_is_the_same(tmp_path: Path, seed: int) -> None:
    """Children that only make and merge shards are killed at random moments, within merges too."""
    identity = {"num_images": 1000, "batch_size": 50}
    whole, killed = Run(tmp_path / "whole", identity), Run(tmp_path / "killed", identity)

    def make_big(block: Block) -> Shard:
        images = np.random.default_rng(block.start).integers(256, size=(len(block), 64, 64, 3), dtype=np.uint8)
        return Shard(images, np.arange(block.start, block.stop))

    open_run(whole, {})
    started = time.perf_counter()
    fill(whole, make_big)
    needed_s = time.perf_counter() - started
    chance, kills, in_merge = random.Random(seed), 0, 0
    while kills < 25:
        child = os.fork()
        if child == 0:
            open_run(killed, {})
            fill(killed, make_big)
            os._exit(0)
        time.sleep(chance.uniform(0, needed_s / 3))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += 1
        in_merge += any(killed.directory.glob(".samples.npz.*.tmp"))
        if os.WIFEXITED(status):
            assert killed.samples.read_bytes() == whole.samples.read_bytes()
            chance.choice([killed.samples, *killed.shards.glob("*.npz")]).unlink()
            killed.samples.unlink(missing_ok=True)
    open_run(killed, {})
    fill(killed, make_big)
    assert killed.samples.read_bytes() == whole.samples.read_bytes()
    assert not list(killed.directory.rglob(".*.tmp"))
