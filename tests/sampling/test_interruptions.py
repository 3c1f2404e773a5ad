"""What happens in days: ranks come and go, processes are killed, disks fill up. The bytes stay the same."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scripts.command import PYTHON, run, start

SAMPLE = [
    "-m", "scripts.sample", "pair=digits_dit_s_xl", "stitch.fractions=[1,0]", "sampler.num_steps=6",
    "num_images=81", "batch_size=2",
]  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def torchrun(num_ranks: int, max_restarts: int = 0) -> list[str]:
    return [*TORCHRUN, "--standalone", f"--nproc-per-node={num_ranks}", f"--max-restarts={max_restarts}"]


def sha256(out: Path) -> str:
    return hashlib.sha256((out / "samples.npz").read_bytes()).hexdigest()


def num_shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.npz"))) if (out / "shards").is_dir() else 0


def wait_for_shards(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while num_shards(out) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_group(process: subprocess.Popen) -> None:
    """SIGKILL a launcher and its ranks, which torchrun puts into sessions of their own."""
    ranks = children(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for rank in ranks:
        try:
            os.kill(rank, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    """The checksum of an uninterrupted run of one rank."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(*PYTHON, *SAMPLE, f"out={out}").code == 0
    return sha256(out)


@pytest.mark.long
@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_any_number_of_ranks_gives_the_same_bytes(tmp_path: Path, whole: str, num_ranks: int) -> None:
    outcome = run(*torchrun(num_ranks), *SAMPLE, f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    assert sha256(tmp_path / "out") == whole
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["seconds"].keys() >= {"digits_dit_s", "autoencoder", "writing"}
    assert all(seconds > 0 for seconds in record["seconds"].values())
    assert record["peak_memory_mb"]["host"] > 100


@pytest.mark.parametrize("num_kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_again_and_again_the_bytes_are_the_same(tmp_path: Path, whole: str, num_kills: int) -> None:
    """One process or three ranks, killed as a whole or one rank alone; a run that got to its end loses shards again."""
    chance, out, started = random.Random(num_kills), tmp_path / "out", 0
    while started < num_kills:
        started += 1
        num_ranks = chance.choice([1, 1, 1, 3])
        launcher = PYTHON if num_ranks == 1 else torchrun(num_ranks)
        process = start(*launcher, *SAMPLE, f"out={out}")
        before = num_shards(out)
        deadline = time.monotonic() + chance.uniform(2, 8)
        while process.poll() is None and num_shards(out) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 1.5))
        ranks = children(process.pid) if process.poll() is None else []
        if ranks and chance.random() < 0.5:
            os.kill(chance.choice(ranks), signal.SIGKILL)
            process.communicate(timeout=120)
        elif process.poll() is None:
            kill_group(process)
        if (out / "samples.npz").exists():
            assert sha256(out) == whole
            for path in [out / "samples.npz", *chance.sample(sorted((out / "shards").glob("*.npz")), 30)]:
                path.unlink(missing_ok=True)
    outcome = run(*PYTHON, *SAMPLE, f"out={out}")
    assert outcome.code == 0, outcome.err
    assert sha256(out) == whole


@pytest.mark.long
def test_a_rank_that_dies_is_restarted(tmp_path: Path, whole: str) -> None:
    out = tmp_path / "out"
    process = start(*torchrun(2, max_restarts=2), *SAMPLE, f"out={out}")
    wait_for_shards(process, out, 3)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert "images are there already" in stdout
    assert sha256(out) == whole


def node(port: int) -> list[str]:
    """Start the agent of one of at most two nodes; all nodes of these tests are on this machine."""
    return [
        *TORCHRUN, "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d",
        f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=two", "--rdzv-conf=last_call_timeout=5",
    ]  # fmt: skip


@pytest.mark.long
def test_two_nodes_of_which_one_is_killed(tmp_path: Path, whole: str) -> None:
    """The survivor goes on alone."""
    out, launcher = tmp_path / "out", node(random.randint(20000, 40000))
    host = start(*launcher, *SAMPLE, f"out={out}")
    time.sleep(1)
    other = start(*launcher, *SAMPLE, f"out={out}")
    wait_for_shards(host, out, 3)
    kill_group(other)
    _, stderr = host.communicate(timeout=300)
    assert host.returncode == 0, stderr
    assert sha256(out) == whole


def test_two_nodes_of_which_one_loses_a_rank(tmp_path: Path, whole: str) -> None:
    """Both nodes start their ranks again, and only one of them counts it as a restart."""
    out, launcher = tmp_path / "out", node(random.randint(20000, 40000))
    host = start(*launcher, *SAMPLE, f"out={out}")
    time.sleep(1)
    other = start(*launcher, *SAMPLE, f"out={out}")
    wait_for_shards(host, out, 3)
    [rank] = children(other.pid)
    os.kill(rank, signal.SIGKILL)
    for process in (host, other):
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert sha256(out) == whole


@pytest.mark.long
def test_damaged_shards_are_reported_set_aside_and_made_again(tmp_path: Path, whole: str) -> None:
    out = tmp_path / "out"
    assert run(*PYTHON, *SAMPLE, f"out={out}").code == 0
    shards = sorted((out / "shards").glob("*.npz"))
    for path in shards[3:6]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    shards[7].write_bytes(shards[8].read_bytes())
    outcome = run(*torchrun(2), *SAMPLE, f"out={out}")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("is damaged") == 3
    assert outcome.out.count("is of another run or range") == 1
    assert "73/81 images are there already" in outcome.out
    assert len(list((out / "set_aside").iterdir())) == 4
    assert sha256(out) == whole


@pytest.mark.long
def test_the_second_of_two_launches_stops(tmp_path: Path, whole: str) -> None:
    out = tmp_path / "out"
    first = start(*PYTHON, *SAMPLE, f"out={out}")
    wait_for_shards(first, out, 1)
    os.kill(first.pid, signal.SIGSTOP)
    second = run(*PYTHON, *SAMPLE, f"out={out}")
    os.kill(first.pid, signal.SIGCONT)
    assert second.code == 2
    assert f"out is in use by another launch (process {first.pid} on " in second.err
    assert second.err.count("\n") == 1
    assert first.communicate(timeout=240) and first.returncode == 0
    assert sha256(out) == whole


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_continue(tmp_path: Path, whole: str, number: int, code: int) -> None:
    out = tmp_path / "out"
    process = start(*PYTHON, *SAMPLE, f"out={out}")
    wait_for_shards(process, out, 2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stderr.strip() == "interrupted; the same command continues"
    assert not list(out.rglob(".*.tmp"))
    assert run(*PYTHON, *SAMPLE, f"out={out}").code == 0
    assert sha256(out) == whole


@pytest.mark.long
def test_a_full_disk_is_one_line_and_the_run_continues_elsewhere(tmp_path: Path, whole: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no permission to mount a small file system")
    try:
        refused = run(*PYTHON, *SAMPLE, "num_images=4000", f"out={small / 'large'}")
        assert refused.code == 2
        assert "MB free, but what is missing of the run (8000 images) needs 25 MB" in refused.err
        process = start(*PYTHON, *SAMPLE, f"out={small / 'out'}")
        wait_for_shards(process, small / "out", 2)
        with (small / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
            while True:
                ballast.write(bytes(4096))
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 2
        assert stderr.count("\n") == 1
        assert "free, but" in stderr or "No space left" in stderr
        (small / "ballast").unlink()
        assert run(*PYTHON, *SAMPLE, f"out={small / 'out'}").code == 0
        assert sha256(small / "out") == whole
    finally:
        subprocess.run(["umount", "-l", small], check=True)
