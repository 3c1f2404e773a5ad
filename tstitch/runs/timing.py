"""Seconds by stage of a run, on the CPU's clock or, without waiting for it, on the GPU's."""

import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from tstitch.sample import StepResult

RESET_HOST_PEAK = Path("/proc/self/clear_refs")  # see proc(5)


class StageClock:
    """Seconds by stage. `start`, then a `mark` at the end of each stage; `totals` waits for the device.

    On a GPU a mark is an event in its stream, so the host runs ahead as it would without the clock. Each mark adds up
    the stages that the GPU has finished meanwhile and uses their events again, so a long run holds few of them.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.marks: deque[tuple[str | None, float | torch.cuda.Event]] = deque()
        self.spare: list[torch.cuda.Event] = []
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Begin a stage here: the time since the last mark belongs to none."""
        self._append(None)

    def mark(self, stage: str) -> None:
        """Give the time since the last mark to `stage`."""
        self._append(stage)

    def totals(self) -> dict[str, float]:
        """Return the seconds by stage so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._add_finished()
        return dict(self.seconds)

    def _append(self, stage: str | None) -> None:
        self.marks.append((stage, self._now()))
        self._add_finished()

    def _add_finished(self) -> None:
        """Add the stages whose ends the device has passed to the sums, without waiting for the others."""
        while len(self.marks) > 1 and self._is_past(self.marks[1][1]):
            _, before = self.marks.popleft()
            stage, after = self.marks[0]
            if stage is not None:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + self._between(before, after)
            if self.device.type == "cuda":
                self.spare.append(before)

    def _is_past(self, moment: float | torch.cuda.Event) -> bool:
        # Events of one stream finish in their order, so the one before is past too.
        return self.device.type != "cuda" or moment.query()

    def _now(self) -> float | torch.cuda.Event:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = self.spare.pop() if self.spare else torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _between(self, before: float | torch.cuda.Event, after: float | torch.cuda.Event) -> float:
        if self.device.type != "cuda":
            return after - before
        return before.elapsed_time(after) / 1000


class StepTimer:
    """A callback of the sampling loop: each solver step is a stage, by the name of the model that was asked last."""

    def __init__(self, clock: StageClock, names: Sequence[str]):
        self.clock, self.names = clock, names

    def __call__(self, done: StepResult) -> None:
        self.clock.mark(self.names[done.model])


def restart_peak_memory(device: torch.device) -> None:
    """Let the peaks count from here: the host's on Linux, the GPU's without what earlier work left in the cache."""
    with suppress(OSError):
        RESET_HOST_PEAK.write_text("5")
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Measure the largest resident memory of this process and what PyTorch held of the GPU at most, in MB.

    Both since the latest `restart_peak_memory`, but for the host's where it cannot restart.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    if device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_reserved(device) / 1e6
    return peaks
