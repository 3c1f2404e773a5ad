"""How a trajectory is to be shared out among denoisers, said before its steps are known."""

from collections.abc import Callable, Sequence
from functools import partial

from tstitch.allocation import (
    Allocation,
    allocation_from_counts,
    allocation_from_fractions,
    allocation_from_list,
    warn_of_unused_shares,
)
from tstitch.boundaries import allocation_from_timesteps
from tstitch.errors import UserError

Split = Callable[[Sequence[float]], Allocation]
KINDS = ("fraction", "fractions", "counts", "allocation", "boundary")


def make_split(num_denoisers: int, **given: object) -> Split:
    """What makes the allocation from the descending timesteps of the solver steps. Exactly one of these is given:

    Args:
        given: `fraction` of the steps for the first of two denoisers; `fractions`, one for each; `counts` of solver
            steps, one for each; `allocation`, a denoiser index for each solver step; `boundary`, the timestep down
            to which a denoiser goes, itself included, or a descending list with one for each but the last.

    What is made by fractions warns, once for each number of steps, where one above 0 is rounded to no step.

    Raises:
        UserError: none or several are given, or one has values that cannot be. What is made raises it for counts or
            an explicit allocation of another number of steps.
    """
    chosen = [kind for kind in given if given[kind] is not None]
    if len(chosen) != 1 or chosen[0] not in KINDS:
        raise UserError(f"give one of {', '.join(KINDS)}, got {' and '.join(chosen) or 'none'}")
    [kind], [values] = chosen, [given[kind] for kind in chosen]
    values = [values] if isinstance(values, int | float) and kind in ("fraction", "boundary") else values
    wanted_type = int if kind in ("counts", "allocation") else int | float
    if not isinstance(values, Sequence) or not all(isinstance(value, wanted_type) for value in values):
        raise UserError(f"{kind} must hold {'whole ' if wanted_type is int else ''}numbers, got {values!r}")
    if kind == "allocation":
        return lambda timesteps: allocation_from_list(values, len(timesteps), num_denoisers)
    wanted = {"fraction": 1, "boundary": num_denoisers - 1}.get(kind, num_denoisers)
    if len(values) != wanted or (kind == "fraction" and num_denoisers != 2):
        raise UserError(f"{kind} does not fit {num_denoisers} denoisers, got {list(values)}")
    if kind == "counts":
        return lambda timesteps: allocation_from_counts(values, len(timesteps))
    if kind == "boundary":
        split = partial(allocation_from_timesteps, values)
    else:
        split = _by_fractions(values if kind == "fractions" else (values[0], 1 - values[0]))
    split(())  # checks the values
    return split


def _by_fractions(fractions: Sequence[float]) -> Split:
    known: set[int] = set()  # numbers of steps

    def split(timesteps: Sequence[float]) -> Allocation:
        allocation = allocation_from_fractions(fractions, timesteps)
        if allocation and len(allocation) not in known:
            known.add(len(allocation))
            warn_of_unused_shares(fractions, allocation)
        return allocation

    return split
