"""One progress display for a whole run, on rank 0, over the work of all ranks."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from tstitch.run import Run
from tstitch.shards import Block

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

    def __call__(self) -> None:
        now = time.perf_counter()
        if self.bar is not None:
            self.bar.update(self._count() - self.bar.n)
        elif now - self.shown >= REPORT_EVERY_S:
            self.shown = now
            done = self._count()
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
