"""Exchange of small values among ranks, through the key-value store that torchrun serves.

Neither torchrun nor the file system gives what is here; each part has a test that fails without it:

- A session id, drawn anew by rank 0, begins every key. torchrun keeps its store over restarts, and no environment
  variable names the attempt: of two nodes of which one loses a rank, only that one counts a restart in
  `TORCHELASTIC_RESTART_COUNT`, and `--rdzv-id` stays the same from launch to launch. Files would need the same id.
  (`test_interruptions.test_two_nodes_of_which_one_loses_a_rank`,
  `test_exchange.test_values_of_earlier_sessions_are_not_read`)
- Heartbeats. When a node is gone, torchrun's agents let the ranks of the other nodes wait for ever; a rank that fails
  makes them start anew. (`test_interruptions.test_two_nodes_of_which_one_is_killed`,
  `test_exchange.test_a_rank_without_heartbeat_is_lost`)
- A limit on joining, for a node that is gone before it has a heartbeat.
  (`test_exchange.test_a_rank_that_never_joins_is_lost`)
- Polling: a call that blocks in the store would delay SIGTERM and Ctrl-C.
  (`test_exchange.test_signals_are_handled_while_waiting`)
- `close`: rank 0 serves the store, and ends it, under launchers that only set the environment and with
  `TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`. (`test_exchange.test_rank_0_keeps_the_store_until_all_have_closed`)
- JSON: whoever reaches the store's port can write to it. (`test_exchange.test_reading_a_value_runs_no_code`)

A process group would not do: a gloo group that is formed again can read the address of a rank that has died, and waits
for it for ever.
"""

import json
import math
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from torch.distributed import Store

POLL_S = 0.05
HEARTBEAT_S = 2.0
HEARTBEAT_TIMEOUT_S = 30.0
JOIN_TIMEOUT_S = 600.0
ANNOUNCE_S = 10.0
CLOSE_TIMEOUT_S = 5.0
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class RankLost(RuntimeError):
    """A rank that did not join, or sent no heartbeat for `HEARTBEAT_TIMEOUT_S`."""


class StoreExchange:
    """Exchange among the ranks of one launch; creating it waits until all ranks have joined the session.

    Raises:
        RankLost: not all have joined after `JOIN_TIMEOUT_S`.
    """

    def __init__(self, store: Store, rank: int, world_size: int):
        self.store, self.rank, self.world_size, self.num_gathers = store, rank, world_size, 0
        self.session = self._open_session() if rank == 0 else self._join_session()
        self.heartbeats: dict[int, tuple[bytes, float]] = {}  # by rank: the last one read, and when it was new
        self.is_closed = threading.Event()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def gather(self, value: Json) -> list[Json]:
        """Give every rank the values of all ranks, in the order of the ranks.

        Raises:
            TypeError: JSON cannot hold the value.
            RankLost: a rank whose value is waited for sends no heartbeat.
        """
        self.num_gathers += 1
        keys = [f"{self.session}/{self.num_gathers}/{rank}" for rank in range(self.world_size)]
        self.store.set(keys[self.rank], json.dumps(value))

        def all_are_set() -> bool:
            if self.store.check(keys):
                return True
            for rank, key in enumerate(keys):
                if not self.store.check([key]):
                    self._check_heartbeat(rank)
            return False

        wait(all_are_set)
        return [json.loads(self.store.get(key)) for key in keys]

    def close(self) -> None:
        """Stop the heartbeats; rank 0 waits up to `CLOSE_TIMEOUT_S` until the others have read the last values."""
        self.is_closed.set()
        if self.rank != 0:
            self.store.set(f"{self.session}/closed/{self.rank}", "")
            return
        keys = [f"{self.session}/closed/{rank}" for rank in range(1, self.world_size)]
        wait(lambda: self.store.check(keys), CLOSE_TIMEOUT_S)

    def _send_heartbeats(self) -> None:
        count = 0
        with suppress(RuntimeError):  # the store has ended, and with it the launch
            while not self.is_closed.wait(HEARTBEAT_S):
                count += 1
                self.store.set(f"{self.session}/heartbeat/{self.rank}", str(count))

    def _check_heartbeat(self, rank: int) -> None:
        key, now = f"{self.session}/heartbeat/{rank}", time.monotonic()
        heartbeat = self.store.get(key) if self.store.check([key]) else b""
        last, since = self.heartbeats.get(rank, (None, now))
        if heartbeat != last:
            self.heartbeats[rank] = (heartbeat, now)
        elif now - since > HEARTBEAT_TIMEOUT_S:
            raise RankLost(f"rank {rank} has sent no heartbeat for {HEARTBEAT_TIMEOUT_S:g} s")

    def _open_session(self) -> str:
        """Send the session id to each rank that says hello, until all have acknowledged it.

        A hello of an earlier launch is answered too, and never acknowledged; the living rank's hello replaces it.
        """
        session, others = uuid.uuid4().hex, range(1, self.world_size)
        acknowledgements = [f"{session}/joined/{rank}" for rank in others]

        def all_have_joined() -> bool:
            for rank in others:
                if self.store.check([f"hello/{rank}"]):
                    self.store.set(f"session/{self.store.get(f'hello/{rank}').decode()}", session)
            return self.store.check(acknowledgements)

        announcement = f"rank 0 waits for {len(others)} other rank{'s' * (len(others) > 1)}"
        if not wait(all_have_joined, JOIN_TIMEOUT_S, announcement):
            missing = [rank for rank, key in zip(others, acknowledgements, strict=True) if not self.store.check([key])]
            raise RankLost(f"ranks {missing} have not joined after {JOIN_TIMEOUT_S:g} s")
        return session

    def _join_session(self) -> str:
        """Say hello under a name of one's own, and acknowledge the session id that comes back."""
        name = uuid.uuid4().hex
        self.store.set(f"hello/{self.rank}", name)
        if not wait(lambda: self.store.check([f"session/{name}"]), JOIN_TIMEOUT_S):
            raise RankLost(f"rank 0 has sent no session id for {JOIN_TIMEOUT_S:g} s")
        session = self.store.get(f"session/{name}").decode()
        self.store.set(f"{session}/joined/{self.rank}", "")
        return session


def wait(condition: Callable[[], bool], timeout_s: float = math.inf, announcement: str = "") -> bool:
    """Poll until the condition holds; False where it does not after `timeout_s`.

    Args:
        announcement: printed on stderr where it takes longer than `ANNOUNCE_S`.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        if waited > timeout_s:
            return False
        if announcement and waited > ANNOUNCE_S:
            print(f"{announcement} (up to {timeout_s:g} s)", file=sys.stderr, flush=True)
            announcement = ""
        time.sleep(POLL_S)
    return True
