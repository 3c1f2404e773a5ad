"""The Pareto front: points that no other one beats in both time and quality."""

from collections.abc import Sequence


def pareto_front(times: Sequence[float], values: Sequence[float], higher_is_better: bool = False) -> list[int]:
    """List the positions of the points on the front, from the fastest on; of equal points the first."""
    sign = -1 if higher_is_better else 1
    order = sorted(range(len(times)), key=lambda i: (times[i], sign * values[i], i))
    front: list[int] = []
    for i in order:
        if not front or sign * values[i] < sign * values[front[-1]]:
            front.append(i)
    return front
