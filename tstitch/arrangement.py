"""The order in which denoisers take their steps: small to large, and what table 7 of the paper compares it with."""

from collections.abc import Callable

import numpy as np

from tstitch.allocation import Allocation
from tstitch.errors import UserError


def arrange(allocation: Allocation, order: str, seed: int = 0) -> Allocation:
    """Rearrange the steps of an allocation, small to large, in another order.

    Args:
        allocation: an index for each step, ascending.
        order: `small_to_large` leaves it; `large_to_small` reverses it; `interleave` spreads each denoiser's steps
            evenly (0, 1, 0, 1, ... at one half each); `decreasing` draws each step of two denoisers, the small one
            with a probability that falls linearly from 1 at the first step to 0 at the last, whatever the counts.
        seed: of the draws of `decreasing`.

    Raises:
        UserError: an unknown order, or `decreasing` for anything but two denoisers with half of the steps each.
    """
    if order not in ORDERS:
        raise UserError(f"unknown allocation order {order!r}; known: {', '.join(ORDERS)}")
    return ORDERS[order](allocation, seed)


def _small_to_large(allocation: Allocation, seed: int) -> Allocation:
    return allocation


def _large_to_small(allocation: Allocation, seed: int) -> Allocation:
    return allocation[::-1]


def _interleave(allocation: Allocation, seed: int) -> Allocation:
    """Each step goes to the denoiser that is furthest behind its share; the smaller one where two are equal."""
    num_steps = len(allocation)
    counts = {index: allocation.count(index) for index in sorted(set(allocation))}
    taken = dict.fromkeys(counts, 0)
    arranged = []
    for step in range(1, num_steps + 1):
        # In whole numbers, so that ties are ties.
        behind = {index: counts[index] * step - taken[index] * num_steps for index in counts}
        chosen = max(behind, key=lambda index: (behind[index], -index))
        taken[chosen] += 1
        arranged.append(chosen)
    return tuple(arranged)


def _decreasing(allocation: Allocation, seed: int) -> Allocation:
    num_steps = len(allocation)
    if max(allocation) > 1 or abs(2 * allocation.count(0) - num_steps) > 1:
        counts = [allocation.count(index) for index in range(max(allocation) + 1)]
        raise UserError(
            f"allocation order decreasing is for two denoisers with half of the {num_steps} steps each, got {counts}"
        )
    draws = np.random.default_rng(seed).random(num_steps)
    return tuple((draws >= np.linspace(1, 0, num_steps)).astype(int).tolist())


ORDERS: dict[str, Callable[[Allocation, int], Allocation]] = {
    "small_to_large": _small_to_large,
    "large_to_small": _large_to_small,
    "interleave": _interleave,
    "decreasing": _decreasing,
}
