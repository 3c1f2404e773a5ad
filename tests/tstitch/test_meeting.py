import threading
from datetime import timedelta

from torch.distributed import HashStore, Store, TCPStore

from tstitch.meeting import Meeting


def meet(stores: list[Store], rounds: int = 3) -> list[list]:
    """Let one thread for each store meet the others, and return what each gathered last."""
    found: list[list] = [[] for _ in stores]

    def take_part(rank: int) -> None:
        meeting = Meeting(stores[rank], rank, len(stores))
        for number in range(rounds):
            found[rank] = meeting.gather((rank, number))
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
    assert meet([store] * 3) == [[(0, 2), (1, 2), (2, 2)]] * 3


def test_what_an_earlier_launch_left_is_no_answer() -> None:
    """A rank that introduced itself and died, and a whole meeting before, do not confuse the next one."""
    store = HashStore()
    store.set("hello/1", "dead")
    store.set("welcome/dead", "session of the dead")
    assert meet([store] * 2) == [[(0, 2), (1, 2)]] * 2
    assert meet([store] * 2, rounds=1) == [[(0, 0), (1, 0)]] * 2


def test_over_a_socket() -> None:
    server = TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    client = TCPStore("localhost", server.port, is_master=False, timeout=timedelta(seconds=30))
    assert meet([server, client]) == [[(0, 2), (1, 2)]] * 2
