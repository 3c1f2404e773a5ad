"""Allocations: which denoiser takes which solver step (paper, section 3.2).

An allocation is a tuple with one denoiser index per solver step, the first step (the noisiest)
first. Denoisers are ordered from small to large, as the fractions are.
"""

import math
import warnings
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np
import torch

from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule

Allocation = tuple[int, ...]
RULES = ("steps", "timestep", "timestep_strict")
MAX_SPANS = 6  # more in a line are not read


def allocation_from_fractions(fractions: Sequence[float], timesteps: Sequence[int], rule: str = "steps") -> Allocation:
    """Compile fractions of the trajectory into an allocation.

    Args:
        fractions: the share of the trajectory of each denoiser, in [0, 1], summing to 1.
        timesteps: the descending timesteps of the trajectory, on a schedule of 1000.
        rule: `steps` ends denoiser k after `round((r_1 + ... + r_k) * T)` steps, round half to even
            (the paper). `timestep` compares timesteps with the fractions as the released DiT code
            does, rounding errors included: at r = 0.7 it gives 699 of 1000 steps, not 700.
            `timestep_strict` is the same for the released LDM code, two models only.

    Raises:
        UserError: fractions that are negative, NaN or do not sum to 1, or an unknown rule.
    """
    check_fractions(fractions)
    if rule not in RULES:
        raise UserError(f"unknown allocation rule {rule!r}; known: {', '.join(RULES)}")
    if rule == "steps":
        return _by_steps(fractions, len(timesteps))
    if rule == "timestep_strict":
        return _two_by_timestep_strict(fractions, timesteps)
    return _two_by_timestep(fractions, timesteps) if len(fractions) == 2 else _many_by_timestep(fractions, timesteps)


def allocation_from_counts(counts: Sequence[int], num_steps: int) -> Allocation:
    """Compile explicit numbers of steps, one per denoiser, into an allocation."""
    if any(count < 0 for count in counts) or sum(counts) != num_steps:
        raise UserError(f"counts must be 0 or more and sum to the {num_steps} solver steps, got {list(counts)}")
    return tuple(index for index, count in enumerate(counts) for _ in range(count))


def allocation_from_list(denoiser_per_step: Sequence[int], num_steps: int, num_denoisers: int) -> Allocation:
    """Check an explicit list of denoiser indices and return it as an allocation."""
    if len(denoiser_per_step) != num_steps:
        raise UserError(f"an explicit allocation needs {num_steps} entries, one per step, got {len(denoiser_per_step)}")
    for index in denoiser_per_step:
        if not 0 <= index < num_denoisers:
            raise UserError(f"an allocation holds denoiser indices in 0..{num_denoisers - 1}, got {index}")
    return tuple(denoiser_per_step)


def allocation_from_timesteps(boundaries: Sequence[float], timesteps: Sequence[int]) -> Allocation:
    """Give denoiser k the steps with `t >= boundaries[k]` that those before it left, the last one the others.

    Args:
        boundaries: descending timesteps, one fewer than denoisers.
        timesteps: of the trajectory, descending.

    Raises:
        UserError: boundaries that do not descend or are not finite.
    """
    check_boundaries("timestep boundaries", boundaries, descending=True)
    return tuple(sum(t < boundary for boundary in boundaries) for t in timesteps)


def allocation_from_log_snr(
    boundaries: Sequence[float], timesteps: Sequence[int], schedule: NoiseSchedule
) -> Allocation:
    """Allocate by signal-to-noise ratio: denoiser k takes the steps with `log SNR <= boundaries[k]`.

    log SNR = ln(alpha-bar / (1 - alpha-bar)) rises along a trajectory, so the boundaries ascend. It means the same on
    any noise schedule.
    """
    check_boundaries("log-SNR boundaries", boundaries, descending=False)
    log_snr = log_snr_at(timesteps, schedule)
    return tuple(sum(value > boundary for boundary in boundaries) for value in log_snr)


def log_snr_at(timesteps: Sequence[int], schedule: NoiseSchedule) -> list[float]:
    """Compute the natural logarithm of the signal-to-noise ratio (of variances) at each timestep."""
    alphas_cumprod = schedule.alphas_cumprod[np.rint(timesteps).astype(int)]
    return (np.log(alphas_cumprod) - np.log1p(-alphas_cumprod)).tolist()


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise `UserError` unless every fraction lies in [0, 1] and they sum to 1 (to 1e-6)."""
    if not all(math.isfinite(fraction) and 0 <= fraction <= 1 for fraction in fractions):
        raise UserError(f"fractions must lie in [0, 1], got {list(fractions)}")
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"fractions must sum to 1, got {list(fractions)}, which sum to {sum(fractions):g}")


def fractions_of(allocation: Allocation, num_denoisers: int) -> list[float]:
    """Return the share of the steps that each denoiser really takes."""
    return [allocation.count(index) / len(allocation) for index in range(num_denoisers)]


def unused_shares(fractions: Sequence[float], allocation: Allocation) -> dict[int, float]:
    """Return the denoisers that take no step although their fraction is above 0, with that fraction."""
    return {index: share for index, share in enumerate(fractions) if share > 0 and index not in allocation}


def warn_of_unused_shares(fractions: Sequence[float], allocation: Allocation) -> None:
    """Warn with the numbers where a denoiser with a fraction above 0 takes no step."""
    for index, share in unused_shares(fractions, allocation).items():
        counts = ", ".join(str(allocation.count(each)) for each in range(len(fractions)))
        warnings.warn(
            f"denoiser {index} takes no step: its fraction {share:g} of {len(allocation)} solver steps is "
            f"{share * len(allocation):g}, and rounding leaves it 0 (steps of each denoiser: {counts}); ask for a "
            "larger fraction or for more steps",
            stacklevel=2,
        )


def show_fractions(fractions: Sequence[float]) -> str:
    """Write fractions as `0.4/0.6`, small to large."""
    return "/".join(f"{fraction:g}" for fraction in fractions)


def describe_allocation(allocation: Allocation, timesteps: Sequence[int], names: Sequence[str]) -> str:
    """Write a line such as `small takes 20 steps (t = 999..612), large takes 30 steps (t = 591..0)`.

    Where denoisers take turns, the totals and the list itself.
    """
    groups = [(index, len(list(group))) for index, group in groupby(allocation)]
    if len(groups) > MAX_SPANS:
        totals = [f"{name} takes {allocation.count(index)} steps" for index, name in enumerate(names)]
        return f"{', '.join(totals)}, in {len(groups)} spans: {' '.join(map(str, allocation))}"
    parts, start = [], 0
    for index, num_steps in groups:
        stop = start + num_steps
        span = f"{timesteps[start]}..{timesteps[stop - 1]}" if stop - start > 1 else f"{timesteps[start]}"
        parts.append(f"{names[index]} takes {stop - start} step{'s' * (stop - start > 1)} (t = {span})")
        start = stop
    return ", ".join(parts)


def check_boundaries(name: str, boundaries: Sequence[float], descending: bool) -> None:
    numbers = all(isinstance(b, int | float) and not isinstance(b, bool) and math.isfinite(b) for b in boundaries)
    sign = -1 if descending else 1
    if not numbers or not all(sign * a < sign * b for a, b in pairwise(boundaries)):
        direction = "descend" if descending else "ascend"
        raise UserError(f"{name} must be finite numbers that {direction}, got {list(boundaries)}")


def _by_steps(fractions: Sequence[float], num_steps: int) -> Allocation:
    # Rounded to nine digits first, so that 0.1 + 0.2 and 0.3 end at the same step.
    ends = [round(round(total * num_steps, 9)) for total in accumulate(fractions)]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return allocation_from_counts(counts, num_steps)


def _two_by_timestep(fractions: Sequence[float], timesteps: Sequence[int]) -> Allocation:
    """Apply the released two-model rule, in float64: the small model while `t / 1000 >= 1 - r`."""
    threshold = 1 - fractions[0]
    return tuple(0 if t / 1000 >= threshold else 1 for t in timesteps)


def _two_by_timestep_strict(fractions: Sequence[float], timesteps: Sequence[int]) -> Allocation:
    """Apply the released LDM rule, in float64: the small model while `t / 1000 > 1 - r`, and always at r = 1."""
    if len(fractions) != 2:
        raise UserError(f"allocation rule timestep_strict is for two models, got {len(fractions)}")
    if fractions[0] == 1:
        return (0,) * len(timesteps)
    return tuple(0 if t / 1000 > 1 - fractions[0] else 1 for t in timesteps)


def _many_by_timestep(fractions: Sequence[float], timesteps: Sequence[int]) -> Allocation:
    """Apply the released rule for more models, in float32: the first k with `1 - t / 1000 <= r_1 + ... + r_k`."""
    ends = torch.tensor(fractions, dtype=torch.float32).cumsum(0)
    ends[-1] = 1
    progress = torch.tensor([1 - t / 1000 for t in timesteps], dtype=torch.float32)
    return tuple((progress[:, None] <= ends).int().argmax(dim=1).tolist())
