"""The best allocation under a budget, where each step's loss counts by itself: exact, for any number of models."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tstitch.allocation import Allocation
from tstitch.errors import UserError

TOLERANCE = 1e-9  # of a budget, so that ten times a tenth fits into one


def best_allocation(losses: np.ndarray, costs: Sequence[float], budget: float) -> Allocation:
    """Minimise the sum of `losses[step, model]` among the allocations whose costs sum to `budget` at most.

    Dynamic programming over (step, steps of each model so far), since the cost depends on these numbers alone.

    Args:
        losses: (T, M), such as TRACK's disagreement times the solver's weight; 0 for the largest model.
        costs: of one step of each model, in any unit.

    Raises:
        UserError: a budget below T steps of the cheapest model.
    """
    num_steps, num_models = losses.shape
    shape = (num_steps + 1,) * (num_models - 1)  # counts of all models but the last, whose count is the rest
    best = np.full(shape, np.inf)
    best[(0,) * (num_models - 1)] = 0.0
    taken = np.zeros((num_steps, *shape), dtype=np.int8)
    for step in range(num_steps):
        # What each model's turn would give, for every count after it; the last model's turn leaves the counts.
        turns = np.stack([_shifted(best, model) + losses[step, model] for model in range(num_models)])
        taken[step] = turns.argmin(axis=0)
        best = turns.min(axis=0)
    counts = np.indices(shape)
    spent = sum(count * cost for count, cost in zip(counts, costs[:-1], strict=True))
    spent = spent + (num_steps - counts.sum(axis=0)) * costs[-1]
    affordable = np.where(spent <= budget * (1 + TOLERANCE), best, np.inf)
    if not np.isfinite(affordable).any():
        raise UserError(f"a budget of {budget:g} is less than {num_steps} steps of the cheapest model cost")
    place = list(np.unravel_index(affordable.argmin(), shape))
    allocation = []
    for step in reversed(range(num_steps)):
        model = int(taken[(step, *place)])
        allocation.append(model)
        if model < num_models - 1:
            place[model] -= 1
    return tuple(reversed(allocation))


def segment_allocations(num_steps: int, num_segments: int, num_models: int = 2) -> Iterator[Allocation]:
    """List every allocation that is constant on each of `num_segments` segments of (nearly) equal length.

    Ten segments of two models are the 1,024 allocations against which every proxy can be held.
    """
    ends = [round(num_steps * (segment + 1) / num_segments) for segment in range(num_segments)]
    lengths = np.diff([0, *ends])
    for choice in itertools.product(range(num_models), repeat=num_segments):
        yield tuple(np.repeat(choice, lengths).tolist())


def _shifted(best: np.ndarray, model: int) -> np.ndarray:
    """The best before a step that this model takes, at the counts after it."""
    if model == best.ndim:
        return best
    moved = np.full_like(best, np.inf)
    ahead = [slice(None)] * best.ndim
    behind = list(ahead)
    ahead[model], behind[model] = slice(1, None), slice(None, -1)
    moved[tuple(ahead)] = best[tuple(behind)]
    return moved
