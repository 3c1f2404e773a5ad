"""One grammar of shares, for configurations and pipelines: what a user asks for, and the allocation that it means.

A share is asked for before the steps of a trajectory are known, in one of the ways of `KINDS`, and in one of the
orders of `ORDERS` (table 7 of the paper compares them).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tstitch.allocation import (
    Allocation,
    allocation_from_counts,
    allocation_from_fractions,
    allocation_from_list,
    allocation_from_log_snr,
    allocation_from_timesteps,
    check_boundaries,
    check_fractions,
    warn_of_unused_shares,
)
from tstitch.errors import UserError
from tstitch.router import AllocationRouter, Route
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.steps import Step

ALIASES = {"allocation": "denoiser_per_step", "boundary": "timestep_boundaries"}
KINDS = ("fraction", "fractions", "counts", "denoiser_per_step", "timestep_boundaries", "log_snr_boundaries")
WHOLE = ("counts", "denoiser_per_step")
ORDERED = "small_to_large"


@dataclass(frozen=True)
class Shares:
    """Shares of the denoisers in a trajectory, as they were asked for; made by `parse_shares`.

    Attributes:
        kind: of `KINDS`, but `fraction`, which becomes `fractions`.
        values: one for each denoiser, but for boundaries one fewer, and for `denoiser_per_step` one for each step.
        rule: how fractions become steps, of `tstitch.allocation.RULES`.
        order: of `ORDERS`.
        seed: of the draws of the orders `decreasing` and `random`.
    """

    kind: str
    values: Sequence[float]
    num_denoisers: int
    rule: str = "steps"
    order: str = ORDERED
    seed: int = 0

    def allocate(self, timesteps: Sequence[float], schedule: NoiseSchedule | None = None) -> Allocation:
        """Compile the shares for the descending timesteps of the solver steps.

        Args:
            schedule: of the timesteps, for log-SNR boundaries.

        Raises:
            UserError: counts or a list of another number of steps, an order that has no meaning for the shares, or a
                log SNR without a schedule.
        """
        match self.kind:
            case "denoiser_per_step":
                return allocation_from_list(self.values, len(timesteps), self.num_denoisers)
            case "timestep_boundaries":
                return allocation_from_timesteps(self.values, timesteps)
            case "log_snr_boundaries" if schedule is None:
                raise UserError("log_snr_boundaries needs a scheduler with alphas_cumprod; give timestep_boundaries")
            case "log_snr_boundaries":
                return allocation_from_log_snr(self.values, timesteps, schedule)
            case "counts":
                return arrange(allocation_from_counts(self.values, len(timesteps)), self.order, self.seed)
        return arrange(allocation_from_fractions(self.values, timesteps, self.rule), self.order, self.seed)

    def start(self, allocation: Allocation, steps: Sequence[Step]) -> Route:
        """Begin a run of a pipeline; an allocation draws nothing."""
        return AllocationRouter(allocation).start(None, steps)

    def warn_of_rounding(self, allocation: Allocation) -> None:
        """Warn with the numbers where a fraction above 0 was rounded to no step."""
        if self.kind == "fractions":
            warn_of_unused_shares(self.values, allocation)


def parse_shares(
    num_denoisers: int,
    given: Mapping[str, object],
    rule: str = "steps",
    order: str = ORDERED,
    seed: int = 0,
    prefix: str = "",
) -> Shares:
    """Read shares from what a user gave; None stands for what is not given.

    Args:
        given: exactly one of `KINDS`: `fraction` of the steps for the first of two denoisers; `fractions`, one for
            each; `counts` of solver steps, one for each; `denoiser_per_step` (or `allocation`), an index for each step;
            `timestep_boundaries` (or `boundary`), the timestep down to which a denoiser goes, itself included, or
            a descending list with one for each but the last; `log_snr_boundaries`, the same as an ascending log SNR.
        prefix: of the settings' names, for messages.

    Raises:
        UserError: none or several are given, or one has values that cannot be.
    """
    chosen = [key for key, values in given.items() if values is not None]
    if len(chosen) != 1 or ALIASES.get(chosen[0], chosen[0]) not in KINDS:
        known = ", ".join(f"{prefix}{kind}" for kind in (*KINDS, *ALIASES))
        raise UserError(f"give one of {known}, got {' and '.join(f'{prefix}{key}' for key in chosen) or 'none'}")
    [key], kind = chosen, ALIASES.get(chosen[0], chosen[0])
    values = _numbers(f"{prefix}{key}", kind, given[key])
    wanted = {"fraction": 1, "denoiser_per_step": len(values)}.get(kind, num_denoisers - kind.endswith("boundaries"))
    if len(values) != wanted or (kind == "fraction" and num_denoisers != 2):
        raise UserError(
            f"{prefix}{key} needs {wanted} value{'s' * (wanted != 1)} for {num_denoisers} denoisers, "
            f"got {len(values)}: {list(values)}"
        )
    if kind == "fraction":
        kind, values = "fractions", (values[0], 1 - values[0])
    if kind == "fractions":
        check_fractions(values)
    if kind.endswith("boundaries"):
        check_boundaries(f"{prefix}{key}", values, descending=kind == "timestep_boundaries")
    if kind not in ("fractions", "counts") and order != ORDERED:
        raise UserError(f"{prefix}{key} says which step is whose, so allocation.order={order} has no meaning with it")
    return Shares(kind, values, num_denoisers, rule, order, seed)


def _numbers(name: str, kind: str, given: object) -> Sequence[float]:
    wanted = int if kind in WHOLE else int | float
    values = [given] if isinstance(given, int | float) and kind in ("fraction", "timestep_boundaries") else given
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not all(isinstance(value, wanted) and not isinstance(value, bool) for value in values):
        raise UserError(f"{name} must be a list of {'whole ' if wanted is int else ''}numbers, got {given!r}")
    return values


def arrange(allocation: Allocation, order: str, seed: int = 0) -> Allocation:
    """Rearrange the steps of an allocation, small to large, in another order.

    Args:
        allocation: an index for each step, ascending.
        order: `small_to_large` leaves it; `large_to_small` reverses it; `interleave` spreads each denoiser's steps
            evenly (0, 1, 0, 1, ... at one half each); `decreasing` draws each step of two denoisers, the small one
            with a probability that falls linearly from 1 at the first step to 0 at the last, whatever the counts;
            `random` draws a permutation; `large_ends` and `small_ends` put the smallest denoiser's steps in the middle
            and at both ends (FlowBlending, arXiv 2512.24724).
        seed: of the draws of `decreasing` and `random`.

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
    """Give each step to the denoiser that is furthest behind its share; the smaller one where two are equal."""
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


def _random(allocation: Allocation, seed: int) -> Allocation:
    return tuple(np.random.default_rng(seed).permutation(allocation).tolist())


def _large_ends(allocation: Allocation, seed: int) -> Allocation:
    """Half of the larger denoisers' steps before the smallest one's, the rest after them."""
    small = allocation.count(min(allocation))
    rest = allocation[small:]
    middle = len(rest) // 2
    return (*rest[:middle], *allocation[:small], *rest[middle:])


def _small_ends(allocation: Allocation, seed: int) -> Allocation:
    """Half of the smallest denoiser's steps (the larger half) before the larger ones', the rest after them."""
    small = allocation.count(min(allocation))
    first = small - small // 2
    return (*allocation[:first], *allocation[small:], *allocation[first:small])


ORDERS: dict[str, Callable[[Allocation, int], Allocation]] = {
    "small_to_large": _small_to_large,
    "large_to_small": _large_to_small,
    "interleave": _interleave,
    "decreasing": _decreasing,
    "random": _random,
    "large_ends": _large_ends,
    "small_ends": _small_ends,
}
