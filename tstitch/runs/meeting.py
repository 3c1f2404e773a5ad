"""How ranks meet: small values exchanged through the key-value store that torchrun serves.

Not through a process group: torchrun keeps one store over restarts, and a gloo group that is joined again can read the
address of a rank that has died, and then waits for it for ever. Here every meeting begins with a handshake that
what an earlier launch left in the store cannot answer, and every rank shows that it lives by a heartbeat, so that one
whose machine is gone is missed by those who wait for it; torchrun then starts them anew.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from torch.distributed import Store

POLL_S = 0.05
BEAT_S = 2.0
SILENCE_S = 30.0
FAREWELL_S = 5.0
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class RankLost(RuntimeError):
    """A rank has shown no sign of life for `SILENCE_S`."""


class Meeting:
    """The ranks of one launch. Waiting polls, so that signals are handled meanwhile."""

    def __init__(self, store: Store, rank: int, world_size: int):
        self.store, self.rank, self.world_size, self.round = store, rank, world_size, 0
        self.session = self._welcome() if rank == 0 else self._introduce()
        self.beats: dict[int, tuple[bytes, float]] = {}
        self.is_over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def gather(self, value: Json) -> list[Json]:
        """Give every rank the values of all ranks, in the order of the ranks.

        They travel as JSON: whoever reaches the store's port can write to it, and reading must run nothing.

        Raises:
            TypeError: a value that JSON does not hold.
            RankLost: one that is waited for is silent.
        """
        self.round += 1
        self.store.set(self._key(self.rank), json.dumps(value))
        keys = [self._key(rank) for rank in range(self.world_size)]

        def everybody_has_come() -> bool:
            if self.store.check(keys):
                return True
            for rank, key in enumerate(keys):
                if not self.store.check([key]):
                    self._listen(rank)
            return False

        _wait(everybody_has_come)
        return [json.loads(self.store.get(key)) for key in keys]

    def leave(self) -> None:
        """Let the others read the last values before the store goes with rank 0, where rank 0 serves it."""
        self.is_over.set()
        if self.rank != 0:
            self.store.set(f"{self.session}/left/{self.rank}", "")
            return
        keys = [f"{self.session}/left/{rank}" for rank in range(1, self.world_size)]
        deadline = time.monotonic() + FAREWELL_S
        _wait(lambda: self.store.check(keys) or time.monotonic() > deadline)

    def _key(self, rank: int) -> str:
        return f"{self.session}/{self.round}/{rank}"

    def _beat(self) -> None:
        count = 0
        with suppress(RuntimeError):  # the store is gone, and so is the launch
            while not self.is_over.wait(BEAT_S):
                count += 1
                self.store.set(f"{self.session}/beat/{self.rank}", str(count))

    def _listen(self, rank: int) -> None:
        key, now = f"{self.session}/beat/{rank}", time.monotonic()
        beat = self.store.get(key) if self.store.check([key]) else b""
        heard, at = self.beats.get(rank, (None, now))
        if beat != heard:
            self.beats[rank] = (beat, now)
        elif now - at > SILENCE_S:
            raise RankLost(f"rank {rank} has been silent for {SILENCE_S:g} s")

    def _welcome(self) -> str:
        """Rank 0 answers whoever introduces himself, until all have used the answer; the dead of before never do."""
        session, others = uuid.uuid4().hex, range(1, self.world_size)
        here = [f"{session}/here/{rank}" for rank in others]

        def everybody_is_here() -> bool:
            for rank in others:
                if self.store.check([f"hello/{rank}"]):
                    self.store.set(f"welcome/{self.store.get(f'hello/{rank}').decode()}", session)
            return self.store.check(here)

        _wait(everybody_is_here)
        return session

    def _introduce(self) -> str:
        name = uuid.uuid4().hex
        self.store.set(f"hello/{self.rank}", name)
        _wait(lambda: self.store.check([f"welcome/{name}"]))
        session = self.store.get(f"welcome/{name}").decode()
        self.store.set(f"{session}/here/{self.rank}", "")
        return session


def _wait(is_over: Callable[[], bool]) -> None:
    while not is_over():
        time.sleep(POLL_S)
