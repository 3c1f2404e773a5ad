"""The variables of a launch: read, or refused before anything waits."""

import pytest

from tests.scripts.command import PYTHON, run
from tstitch.errors import UserError
from tstitch.runs.environment import RankEnvironment, read_environment

LAUNCH = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}  # fmt: skip

MISTAKES = [
    ({"RANK": "4"}, "RANK=4 in the environment must be below WORLD_SIZE=4"),
    ({"RANK": "-1"}, "RANK in the environment must be a whole number of 0 or more, got '-1'"),
    ({"RANK": "one"}, "RANK in the environment must be a whole number of 0 or more, got 'one'"),
    ({"RANK": "1.0"}, "got '1.0'"),
    ({"RANK": "٣"}, "must be a whole number"),
    ({"RANK": ""}, "RANK in the environment must be a whole number"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE in the environment must be a whole number of 1 or more, got '0'"),
    ({"WORLD_SIZE": "four"}, "WORLD_SIZE in the environment must be a whole number of 1 or more, got 'four'"),
    ({"WORLD_SIZE": None}, "RANK=3 in the environment must be below WORLD_SIZE=1"),
    ({"LOCAL_RANK": "2"}, "LOCAL_RANK=2 in the environment must be below LOCAL_WORLD_SIZE=2"),
    ({"LOCAL_RANK": "x"}, "LOCAL_RANK in the environment must be a whole number"),
    ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE in the environment must be a whole number of 1 or more"),
    ({"LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE=5 is more than WORLD_SIZE=4"),
    ({"RANK": None}, "WORLD_SIZE=4, but not RANK"),
    ({"MASTER_PORT": None}, "WORLD_SIZE=4, but not MASTER_PORT"),
    ({"MASTER_ADDR": None, "MASTER_PORT": None}, "but not MASTER_ADDR and MASTER_PORT"),
    ({"MASTER_ADDR": ""}, "but not MASTER_ADDR"),
    ({"MASTER_PORT": "http"}, "MASTER_PORT in the environment must be a whole number of 1 or more, got 'http'"),
    ({"MASTER_PORT": "0"}, "MASTER_PORT in the environment must be a whole number of 1 or more, got '0'"),
    ({"MASTER_PORT": "65536"}, "MASTER_PORT must be a port from 1 to 65535, got 65536"),
]


def test_a_launch_and_a_process_alone_are_read() -> None:
    assert read_environment(LAUNCH) == RankEnvironment(3, 4, 1, 2)
    assert read_environment({}) == RankEnvironment(0, 1, 0, 1)
    # A launcher that starts one process on each machine need not name local ranks.
    assert read_environment({**LAUNCH, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}) == RankEnvironment(3, 4, 0, 1)


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_what_cannot_be_a_launch_is_refused(changes: dict[str, str | None], message: str) -> None:
    variables = {name: value for name, value in {**LAUNCH, **changes}.items() if value is not None}
    with pytest.raises(UserError) as refused:
        read_environment(variables)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", ["sample", "evaluate", "reference"])
def test_commands_end_at_once(monkeypatch, tmp_path, command: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    arguments = {
        "sample": ["num_images=2", f"out={tmp_path / 'out'}"],
        "evaluate": [f"run={tmp_path}"],
        "reference": ["make", str(tmp_path), str(tmp_path / "out.npz"), "--extractor-weights", "x"],
    }[command]
    outcome = run(*PYTHON, "-m", f"scripts.{command}", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: the environment has WORLD_SIZE=2, but not MASTER_ADDR and MASTER_PORT")
    assert outcome.err.count("\n") == 1


def test_an_address_that_is_none_is_refused_at_once(monkeypatch, tmp_path) -> None:
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "no such machine",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    outcome = run(*PYTHON, "-m", "scripts.sample", "num_images=2", "batch_size=2", f"out={tmp_path / 'out'}")
    assert outcome.code == 2
    assert "MASTER_ADDR=no such machine is no address of a machine" in outcome.err


@pytest.mark.long
def test_a_mistake_of_all_ranks_is_said_once(tmp_path) -> None:
    torchrun = [*PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for arguments in (["num_images=0"], [f"pair.denoisers.s.path={tmp_path / 'nowhere.safetensors'}"]):
        outcome = run(*torchrun, "-m", "scripts.sample", *arguments, f"out={tmp_path / 'out'}")
        assert outcome.code != 0
        assert outcome.err.count("error: ") == 1, outcome.err
