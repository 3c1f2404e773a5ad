"""Allocations from where on the noise schedule one denoiser hands over to the next, and what others call that place."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tstitch.allocation import Allocation
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule


def allocation_from_timesteps(boundaries: Sequence[float], timesteps: Sequence[int]) -> Allocation:
    """Denoiser k takes the steps with `t >= boundaries[k]` that those before it left; the last one takes the rest.

    Args:
        boundaries: descending timesteps, one fewer than denoisers.
        timesteps: of the trajectory, descending.

    Raises:
        UserError: boundaries that do not descend or are not finite.
    """
    _check("timestep boundaries", boundaries, descending=True)
    return tuple(sum(t < boundary for boundary in boundaries) for t in timesteps)


def allocation_from_log_snr(
    boundaries: Sequence[float], timesteps: Sequence[int], schedule: NoiseSchedule
) -> Allocation:
    """The same by signal-to-noise ratio: denoiser k takes the steps with `log SNR <= boundaries[k]`.

    log SNR = ln(alpha-bar / (1 - alpha-bar)) rises along a trajectory, so the boundaries ascend. It means the same on
    any noise schedule.
    """
    _check("log-SNR boundaries", boundaries, descending=False)
    log_snr = log_snr_at(timesteps, schedule)
    return tuple(sum(value > boundary for boundary in boundaries) for value in log_snr)


def log_snr_at(timesteps: Sequence[int], schedule: NoiseSchedule) -> list[float]:
    """Natural logarithm of the signal-to-noise ratio (of variances) at each timestep."""
    alphas_cumprod = schedule.alphas_cumprod[np.asarray(timesteps)]
    return (np.log(alphas_cumprod) - np.log1p(-alphas_cumprod)).tolist()


def timestep_of_denoising_end(denoising_end: float, num_train_timesteps: int = 1000) -> float:
    """The timestep boundary of SDXL's `denoising_end` in diffusers: the base model stops before `t < boundary`."""
    _check_share("denoising_end", denoising_end)
    return round(num_train_timesteps - denoising_end * num_train_timesteps)


def timestep_of_boundary_ratio(boundary_ratio: float, num_train_timesteps: int = 1000) -> float:
    """The timestep boundary of Wan2.2's `boundary_ratio`: the high-noise model takes `t >= ratio * timesteps`."""
    _check_share("boundary_ratio", boundary_ratio)
    return boundary_ratio * num_train_timesteps


def steps_of_unet_s_ratio(unet_s_ratio: float, num_calls: int) -> int:
    """Calls of the small U-Net under the release's `unet_s_ratio`: call i (from 1) while `i / num_calls <= ratio`.

    `num_calls` is the length of the scheduler's list of timesteps: 51 for PNDM at 50 steps.
    """
    _check_share("unet_s_ratio", unet_s_ratio)
    return sum(call / num_calls <= unet_s_ratio for call in range(1, num_calls + 1))


def _check(name: str, boundaries: Sequence[float], descending: bool) -> None:
    numbers = all(isinstance(b, int | float) and not isinstance(b, bool) and math.isfinite(b) for b in boundaries)
    sign = -1 if descending else 1
    if not numbers or not all(sign * a < sign * b for a, b in itertools.pairwise(boundaries)):
        direction = "descend" if descending else "ascend"
        raise UserError(f"{name} must be finite numbers that {direction}, got {list(boundaries)}")


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UserError(f"{name} must lie in [0, 1], got {value!r}")
