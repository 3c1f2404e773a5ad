"""The clock of stages: sums that are right, and a memory that does not grow with the run."""

import time

import pytest
import torch

from tstitch.runs.timing import StageClock


class LateEvent:
    """A CUDA event on a device that is `LAG` records behind; its moments are 2 ms apart."""

    LAG = 5
    made = recorded = 0

    def __init__(self, enable_timing: bool):
        assert enable_timing
        LateEvent.made += 1

    def record(self, stream: object) -> None:
        LateEvent.recorded += 1
        self.number = LateEvent.recorded

    def query(self) -> bool:
        return LateEvent.recorded - self.number >= self.LAG

    def elapsed_time(self, later: "LateEvent") -> float:
        return 2.0 * (later.number - self.number)


def test_a_long_run_holds_few_marks() -> None:
    clock = StageClock(torch.device("cpu"))
    clock.start()
    started = time.perf_counter()
    for _ in range(1000):
        clock.mark("network")
    assert len(clock.marks) <= 1
    assert 0 < clock.totals()["network"] <= time.perf_counter() - started + 1e-3


def test_events_are_added_up_and_used_again_while_the_device_is_behind(monkeypatch) -> None:
    monkeypatch.setattr(LateEvent, "made", 0)
    monkeypatch.setattr(LateEvent, "recorded", 0)
    monkeypatch.setattr(torch.cuda, "Event", LateEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: setattr(LateEvent, "recorded", 10**6))
    clock = StageClock(torch.device("cuda", 0))
    for _ in range(100):
        clock.start()
        for stage in ("small", "large", "large"):
            clock.mark(stage)
    assert LateEvent.made <= LateEvent.LAG + 2
    assert clock.totals() == pytest.approx({"small": 0.2, "large": 0.4})
    assert clock.totals() == pytest.approx({"small": 0.2, "large": 0.4}), "nothing is counted twice"


@pytest.mark.gpu
def test_a_gpu_is_timed_without_waiting_and_with_few_events() -> None:
    device = torch.device("cuda", 0)
    x = torch.randn(2048, 2048, device=device)
    clock = StageClock(device)
    torch.cuda.synchronize()
    started = time.perf_counter()
    clock.start()
    for _ in range(300):
        x = (x @ x).clamp_(-1, 1)
        clock.mark("product")
    totals = clock.totals()
    passed = time.perf_counter() - started
    assert 0.5 * passed < totals["product"] <= passed
    for _ in range(50):
        x = (x @ x).clamp_(-1, 1)
        torch.cuda.synchronize()
        clock.mark("waited")
        assert len(clock.marks) <= 3
    assert clock.totals().keys() == {"product", "waited"}
