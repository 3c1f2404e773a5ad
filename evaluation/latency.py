"""Latency: warm calls in shuffled order, the median of the repeats."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Seconds of one call: the median and the extremes over the repeats."""

    median_s: float
    min_s: float
    max_s: float

    def per_image(self, batch_size: int) -> dict[str, float]:
        """The same times for one of `batch_size` images."""
        return {
            "seconds_per_image": self.median_s / batch_size,
            "seconds_per_image_min": self.min_s / batch_size,
            "seconds_per_image_max": self.max_s / batch_size,
        }


def measure_latency(calls: Sequence[Callable[[], object]], repeats: int, seed: int = 0) -> list[Latency]:
    """Time each call `repeats` times after one warm-up.

    The order is shuffled anew in each round, so a machine that slows down slows all of them. A
    call must return only when its work is done (its result on the CPU).
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    order, shuffle = list(range(len(calls))), random.Random(seed).shuffle
    for _ in range(repeats):
        shuffle(order)
        for index in order:
            started = time.perf_counter()
            calls[index]()
            times[index].append(time.perf_counter() - started)
    return [Latency(statistics.median(own), min(own), max(own)) for own in times]
