"""Latency: warm calls in shuffled order, medians and tails over the repeats, split by stage."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tstitch.runs.timing import StageClock

REST = "rest"


@dataclass(frozen=True)
class Latency:
    """Seconds of one call over the repeats: every total, and the median of each stage."""

    totals_s: list[float]
    stages_s: dict[str, float]

    @property
    def median_s(self) -> float:
        return float(np.median(self.totals_s))

    @property
    def p10_s(self) -> float:
        return float(np.percentile(self.totals_s, 10))

    @property
    def p90_s(self) -> float:
        return float(np.percentile(self.totals_s, 90))

    def per_image(self, batch_size: int) -> dict[str, float | dict[str, float]]:
        """The same for one of `batch_size` images, under the names of `latency.json`."""
        return {
            "seconds_per_image": self.median_s / batch_size,
            "seconds_per_image_min": min(self.totals_s) / batch_size,
            "seconds_per_image_max": max(self.totals_s) / batch_size,
            "seconds_per_image_p10": self.p10_s / batch_size,
            "seconds_per_image_p90": self.p90_s / batch_size,
            "stages_s_per_image": {stage: seconds / batch_size for stage, seconds in self.stages_s.items()},
        }


def measure_latency(
    calls: Sequence[Callable[[StageClock], object]], repeats: int, device: torch.device, seed: int = 0
) -> list[Latency]:
    """Time each call `repeats` times after one warm-up.

    The order is shuffled anew in each round, so a machine that slows down slows all of them. A call marks its stages
    on the clock it is given and must return only when its work is done (its result on the CPU).
    """
    for call in calls:
        call(StageClock(device))
    totals: list[list[float]] = [[] for _ in calls]
    stages: list[list[dict[str, float]]] = [[] for _ in calls]
    order, shuffle = list(range(len(calls))), random.Random(seed).shuffle
    for _ in range(repeats):
        shuffle(order)
        for index in order:
            clock, started = StageClock(device), time.perf_counter()
            calls[index](clock)
            totals[index].append(time.perf_counter() - started)
            marked = clock.totals()
            stages[index].append({**marked, REST: totals[index][-1] - sum(marked.values())})
    return [Latency(own, _medians(rounds)) for own, rounds in zip(totals, stages, strict=True)]


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {stage: float(np.median([own[stage] for own in rounds])) for stage in rounds[0]}
