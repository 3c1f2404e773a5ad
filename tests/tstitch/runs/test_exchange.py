import pickle
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import HashStore, Store, TCPStore

from tstitch.runs.exchange import Json, RankLost, StoreExchange
from tstitch.runs.ranks import Ranks
from tstitch.runs.shards import Block


def exchange_among(stores: list[Store], value: Json, num_gathers: int = 3) -> list[list]:
    """Run a rank in a thread for each store, and return what each gathered last: [rank, value, gather] of all ranks."""
    gathered: list[list] = [[] for _ in stores]

    def run_rank(rank: int) -> None:
        exchange = StoreExchange(stores[rank], rank, len(stores))
        for number in range(num_gathers):
            gathered[rank] = exchange.gather([rank, value, number])
        exchange.close()

    threads = [threading.Thread(target=run_rank, args=(rank,), daemon=True) for rank in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return gathered


def join_in_background(store: Store) -> None:
    """Join a session of two ranks as rank 1, in a thread, and do nothing more."""
    threading.Thread(target=StoreExchange, args=(store, 1, 2), daemon=True).start()


def test_every_rank_gathers_the_same_in_the_order_of_ranks() -> None:
    assert exchange_among([HashStore()] * 3, "a") == [[[0, "a", 2], [1, "a", 2], [2, "a", 2]]] * 3


def test_values_of_earlier_sessions_are_not_read() -> None:
    """A store keeps the hello of a rank that died, the answer to it, and all values of a session before."""
    store = HashStore()
    store.set("hello/1", "dead")
    store.set("session/dead", "session of the dead")
    assert exchange_among([store] * 2, "a") == [[[0, "a", 2], [1, "a", 2]]] * 2
    slow = SlowStore(store)
    for value, stores in (("b", [slow, store]), ("c", [store, slow])):
        assert exchange_among(stores, value, num_gathers=1) == [[[0, value, 0], [1, value, 0]]] * 2


class SlowStore:
    """A store whose values are set late, so that a value of before would be read first."""

    def __init__(self, store: Store):
        self.check, self.get, self.store = store.check, store.get, store

    def set(self, key: str, value: str) -> None:
        time.sleep(0.2)
        self.store.set(key, value)


def test_over_a_socket() -> None:
    server = TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    client = TCPStore("localhost", server.port, is_master=False, timeout=timedelta(seconds=30))
    assert exchange_among([server, client], "a") == [[[0, "a", 2], [1, "a", 2]]] * 2


def test_rank_0_keeps_the_store_until_all_have_closed() -> None:
    store, closed = HashStore(), threading.Event()

    def serve() -> None:
        StoreExchange(store, 0, 2).close()
        closed.set()

    threading.Thread(target=serve, daemon=True).start()
    other = StoreExchange(store, 1, 2)
    assert not closed.wait(timeout=0.5)
    other.close()
    assert closed.wait(timeout=2)


def test_rank_0_does_not_wait_long_for_a_rank_that_never_closes(monkeypatch) -> None:
    monkeypatch.setattr("tstitch.runs.exchange.CLOSE_TIMEOUT_S", 0.2)
    store = HashStore()
    join_in_background(store)
    StoreExchange(store, 0, 2).close()


def test_a_rank_without_heartbeat_is_lost(monkeypatch) -> None:
    monkeypatch.setattr("tstitch.runs.exchange.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("tstitch.runs.exchange.HEARTBEAT_TIMEOUT_S", 0.5)
    store, errors = HashStore(), []

    def wait_for_the_other() -> None:
        try:
            StoreExchange(store, 0, 2).gather("value")
        except RankLost as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait_for_the_other, daemon=True)
    waiting.start()
    other = StoreExchange(store, 1, 2)
    waiting.join(timeout=1.5)
    assert waiting.is_alive(), "a slow rank is waited for as long as it sends heartbeats"
    other.is_closed.set()
    waiting.join(timeout=10)
    assert errors == ["rank 1 has sent no heartbeat for 0.5 s"]


@pytest.mark.parametrize(
    ("rank", "message"),
    [(0, r"ranks \[1, 2\] have not joined after 0.2 s"), (1, "rank 0 has sent no session id for 0.2 s")],
)
def test_a_rank_that_never_joins_is_lost(monkeypatch, rank: int, message: str) -> None:
    monkeypatch.setattr("tstitch.runs.exchange.JOIN_TIMEOUT_S", 0.2)
    with pytest.raises(RankLost, match=message):
        StoreExchange(HashStore(), rank, 3)


def test_signals_are_handled_while_waiting() -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedError

    store = HashStore()
    join_in_background(store)
    exchange = StoreExchange(store, 0, 2)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(InterruptedError):
            exchange.gather("value")
    finally:
        signal.signal(signal.SIGALRM, before)


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_reading_a_value_runs_no_code(tmp_path: Path) -> None:
    store, canary = HashStore(), tmp_path / "canary"

    def answer_with_a_pickle() -> None:
        other = StoreExchange(store, 1, 2)
        store.set(f"{other.session}/1/1", pickle.dumps(Canary(canary), protocol=0))

    threading.Thread(target=answer_with_a_pickle, daemon=True).start()
    with pytest.raises(ValueError, match="Expecting value"):
        StoreExchange(store, 0, 2).gather("value")
    assert not canary.exists()


@pytest.mark.parametrize("value", [Block(0, 2), {1, 2}, b"bytes", Path("path")], ids=repr)
def test_values_are_plain_data_for_one_rank_and_for_several(value: object) -> None:
    for ranks in (Ranks(0, 1, 0, 1), Ranks(0, 1, 0, 1, StoreExchange(HashStore(), 0, 1))):
        with pytest.raises(TypeError, match="not JSON serializable"):
            ranks.gather(value)
        assert ranks.gather({"seconds": {"small": 0.1}, "blocks": ([0, 2],), "nothing": None}) == [
            {"seconds": {"small": 0.1}, "blocks": [[0, 2]], "nothing": None}
        ]
