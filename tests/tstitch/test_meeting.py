import pickle
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import HashStore, Store, TCPStore

from tstitch.runs.meeting import Meeting, RankLost
from tstitch.runs.ranks import Ranks
from tstitch.runs.shards import Block


def meet(stores: list[Store], rounds: int = 3) -> list[list]:
    """Let one thread for each store meet the others, and return what each gathered last."""
    found: list[list] = [[] for _ in stores]

    def take_part(rank: int) -> None:
        meeting = Meeting(stores[rank], rank, len(stores))
        for number in range(rounds):
            found[rank] = meeting.gather([rank, number])
        meeting.leave()

    threads = [threading.Thread(target=take_part, args=(rank,), daemon=True) for rank in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return found


def test_everybody_gathers_the_same_in_the_order_of_ranks() -> None:
    store = HashStore()
    assert meet([store] * 3) == [[[0, 2], [1, 2], [2, 2]]] * 3


def test_what_an_earlier_launch_left_is_no_answer() -> None:
    """A rank that introduced itself and died, and a whole meeting before, do not confuse the next one."""
    store = HashStore()
    store.set("hello/1", "dead")
    store.set("welcome/dead", "session of the dead")
    assert meet([store] * 2) == [[[0, 2], [1, 2]]] * 2
    assert meet([store] * 2, rounds=1) == [[[0, 0], [1, 0]]] * 2


def test_over_a_socket() -> None:
    server = TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    client = TCPStore("localhost", server.port, is_master=False, timeout=timedelta(seconds=30))
    assert meet([server, client]) == [[[0, 2], [1, 2]]] * 2


def test_a_rank_that_is_gone_is_missed(monkeypatch) -> None:
    monkeypatch.setattr("tstitch.runs.meeting.BEAT_S", 0.05)
    monkeypatch.setattr("tstitch.runs.meeting.SILENCE_S", 0.5)
    store, errors = HashStore(), []

    def wait_for_the_other() -> None:
        meeting = Meeting(store, 0, 2)
        try:
            meeting.gather("here")
        except RankLost as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait_for_the_other, daemon=True)
    waiting.start()
    other = Meeting(store, 1, 2)
    waiting.join(timeout=1.5)
    assert waiting.is_alive(), "a rank that takes its time is waited for as long as it lives"
    other.is_over.set()
    waiting.join(timeout=10)
    assert errors == ["rank 1 has been silent for 0.5 s"]


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_value_from_the_store_runs_nothing(tmp_path: Path) -> None:
    store, canary = HashStore(), tmp_path / "canary"

    def answer_with_a_pickle() -> None:
        other = Meeting(store, 1, 2)
        store.set(f"{other.session}/1/1", pickle.dumps(Canary(canary), protocol=0))

    threading.Thread(target=answer_with_a_pickle, daemon=True).start()
    with pytest.raises(ValueError, match="Expecting value"):
        Meeting(store, 0, 2).gather("value")
    assert not canary.exists()


@pytest.mark.parametrize("value", [Block(0, 2), {1, 2}, b"bytes", Path("path")], ids=repr)
def test_values_are_plain_data_for_one_rank_and_for_several(value: object) -> None:
    for ranks in (Ranks(0, 1, 0, 1), Ranks(0, 1, 0, 1, Meeting(HashStore(), 0, 1))):
        with pytest.raises(TypeError, match="not JSON serializable"):
            ranks.gather(value)
        assert ranks.gather({"seconds": {"small": 0.1}, "blocks": ([0, 2],), "nothing": None}) == [
            {"seconds": {"small": 0.1}, "blocks": [[0, 2]], "nothing": None}
        ]
