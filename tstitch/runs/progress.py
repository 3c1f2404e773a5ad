"""One progress display for a whole run, on rank 0, over the work of all ranks."""

import sys
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from tstitch.runs.run import Run
from tstitch.runs.shards import Block

REPORT_EVERY_S = 5.0


class Progress:
    """A bar on a terminal, else a line every few seconds: `320/1000 images, 18.2 images/s, 37 s left (0.4/0.6)`.

    What was there before counts as done, but not into the rate.
    """

    def __init__(self, run: Run, missing: Sequence[Block], label: str):
        self.run, self.missing, self.label = run, missing, label
        self.total = run.blocks[-1].stop
        self.before = self.total - sum(map(len, missing))
        if self.before:
            print(f"{self.before}/{self.total} images are there already")
        self.started = self.shown = time.perf_counter()
        self.bar = None
        if missing and sys.stdout.isatty():
            self.bar = tqdm(total=self.total, initial=self.before, desc=label, unit=" images", file=sys.stdout)

    def show(self) -> None:
        """Bring the display up to date."""
        now = time.perf_counter()
        if self.bar is not None:
            self.bar.update(self._count() - self.bar.n)
        elif now - self.shown >= REPORT_EVERY_S:
            self.shown = now
            done = self._count()
            if done == self.before:  # the first shard is still being written
                return
            rate = (done - self.before) / (now - self.started)
            left = (self.total - done) / rate
            print(f"{done}/{self.total} images, {rate:.1f} images/s, {left:.0f} s left ({self.label})")

    def _count(self) -> int:
        present = {path.name for path in self.run.shards.iterdir()}
        return self.before + sum(len(block) for block in self.missing if block.name in present)


class Counter:
    """`done` of `total` of something: a line every few seconds."""

    def __init__(self, unit: str, quiet: bool = False):
        self.unit, self.quiet, self.shown = unit, quiet, time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if not self.quiet and now - self.shown >= REPORT_EVERY_S:
            self.shown = now
            print(f"{done}/{total} {self.unit}")


class Bytes:
    """The bytes of one download: a bar on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self.bar, self.name = None, ""

    def start(self, name: str) -> Callable[[int, int | None], None]:
        """Begin the display of a named download; call the result with the bytes there, and in all or None."""
        self.stop()
        self.name, self.shown, self.before = name, time.perf_counter(), None
        if sys.stdout.isatty():
            self.bar = tqdm(desc=name, unit="B", unit_scale=True, file=sys.stdout)
        return self._update

    def stop(self) -> None:
        """End the display of the download that it is of."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _update(self, done: int, total: int | None) -> None:
        now = time.perf_counter()
        if self.before is None:
            self.before, self.started = done, now
            if self.bar is not None:
                self.bar.reset(total)
                self.bar.initial = self.bar.n = done
        if self.bar is not None:
            self.bar.total = total
            self.bar.update(done - self.bar.n)
        elif now - self.shown >= REPORT_EVERY_S:
            self.shown = now
            rate = (done - self.before) / max(now - self.started, 1e-9)
            of_all = f" of {total / 1e6:,.1f}" if total is not None else ""
            left = f", {(total - done) / rate:.0f} s left" if total is not None and rate > 0 else ""
            print(f"{self.name}: {done / 1e6:,.1f}{of_all} MB, {rate / 1e6:.1f} MB/s{left}")
