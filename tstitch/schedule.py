"""The noise schedule (betas and cumulative alphas, float64) and the timestep grids.

Symbols: beta_t -> `betas[t]`, alpha-bar_t -> `alphas_cumprod[t]` (Ho et al. 2020, section 2).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tstitch.errors import UserError


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving noise schedule over discrete timesteps.

    `alphas_cumprod` is a float64 array of shape (num_train_timesteps,); index t is the share of
    signal variance left at timestep t. `final_alpha_bar` is where the last step of a trajectory
    ends: 1 is clean data (DDPM, DiT); latent diffusion ends at `alphas_cumprod[0]`.
    """

    alphas_cumprod: np.ndarray
    final_alpha_bar: float = 1.0

    @property
    def num_train_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    @cached_property
    def _log_ratios(self) -> np.ndarray:
        alphas_cumprod = np.maximum(self.alphas_cumprod, 1e-30)  # 0 at the end of a schedule of zero terminal SNR
        return 0.5 * (np.log(alphas_cumprod) - np.log1p(-alphas_cumprod))

    def scales(self, timestep: float) -> tuple[float, float]:
        """Return a and s of the states a x_0 + s eps at a timestep, which may lie between two whole ones.

        Between them log(a / s) is interpolated.
        """
        if timestep == int(timestep):
            alpha_bar = float(self.alphas_cumprod[int(timestep)])
        else:
            log_ratio = np.interp(timestep, np.arange(self.num_train_timesteps), self._log_ratios)
            alpha_bar = 1 / (1 + math.exp(-2 * log_ratio))
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

    def timestep_at(self, log_ratio: float) -> float:
        """Return the timestep, interpolated, at which log(a / s) has a value; the nearer end where none has."""
        return float(np.interp(-log_ratio, -self._log_ratios, np.arange(self.num_train_timesteps)))


def linear_schedule(beta_start: float = 1e-4, beta_end: float = 2e-2, num_train_timesteps: int = 1000) -> NoiseSchedule:
    """Space betas evenly from `beta_start` to `beta_end`: the schedule of DDPM, ADM and DiT."""
    return _from_betas(np.linspace(beta_start, beta_end, num_train_timesteps, dtype=np.float64))


def scaled_linear_schedule(beta_start: float, beta_end: float, num_train_timesteps: int = 1000) -> NoiseSchedule:
    """Space betas evenly in their square root, ending at `alphas_cumprod[0]`: latent diffusion's "linear"."""
    roots = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps, dtype=np.float64)
    schedule = _from_betas(roots**2)
    return replace(schedule, final_alpha_bar=float(schedule.alphas_cumprod[0]))


def cosine_schedule(num_train_timesteps: int = 1000) -> NoiseSchedule:
    """Let the cumulative alphas fall like a squared cosine, betas capped at 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
    steps = np.arange(num_train_timesteps + 1, dtype=np.float64) / num_train_timesteps
    alpha_bars = np.cos((steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return _from_betas(np.minimum(1 - alpha_bars[1:] / alpha_bars[:-1], 0.999))


SCHEDULES = {"linear": linear_schedule, "scaled_linear": scaled_linear_schedule, "cosine": cosine_schedule}


def make_schedule(kind: str, **kwargs: float) -> NoiseSchedule:
    """Build a schedule by name; `kwargs` are those of the schedule's function."""
    if kind not in SCHEDULES:
        raise UserError(f"unknown noise schedule {kind!r}; known: {', '.join(SCHEDULES)}")
    return SCHEDULES[kind](**kwargs)


def _from_betas(betas: np.ndarray) -> NoiseSchedule:
    if not (np.all(betas > 0) and np.all(betas < 1)):
        raise UserError(f"betas must lie in (0, 1), got {betas.min():g} to {betas.max():g}")
    return NoiseSchedule(np.cumprod(1.0 - betas))


def dit_linspace(num_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """List evenly spaced timesteps that include both ends, as DiT asks for with `str(num_steps)`.

    Positions are accumulated by repeated addition and rounded half to even, because the reference
    does so: with another order of additions a few timesteps differ by one.
    """
    if num_steps == 1:
        return [0]
    stride = (num_train_timesteps - 1) / (num_steps - 1)
    position, timesteps = 0.0, []
    for _ in range(num_steps):
        timesteps.append(round(position))
        position += stride
    return timesteps[::-1]


def ddim_stride(num_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """List multiples of a whole stride, from 0 (DDIM; `"ddimN"` in ADM and DiT). Needs an exact stride."""
    for stride in range(1, num_train_timesteps):
        if len(range(0, num_train_timesteps, stride)) == num_steps:
            return list(range(0, num_train_timesteps, stride))[::-1]
    raise UserError(f"grid ddim_stride has no whole stride that gives {num_steps} of {num_train_timesteps} timesteps")


def ldm_uniform(num_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """List multiples of the stride rounded down, plus one: the grid of latent diffusion.

    Where `num_steps` does not divide the schedule there are more steps than asked for: 30 gives 31.
    """
    return [t + 1 for t in range(0, num_train_timesteps, num_train_timesteps // num_steps)][::-1]


GRIDS = {"dit_linspace": dit_linspace, "ddim_stride": ddim_stride, "ldm_uniform": ldm_uniform}


def make_timesteps(grid: str, num_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """Make the descending timesteps of a named grid.

    Raises:
        UserError: an unknown grid, or a number of steps outside 1..num_train_timesteps.
    """
    if grid not in GRIDS:
        raise UserError(f"unknown grid {grid!r}; known: {', '.join(GRIDS)}")
    if not 1 <= num_steps <= num_train_timesteps:
        raise UserError(f"num_steps must lie in 1..{num_train_timesteps}, got {num_steps}")
    timesteps = GRIDS[grid](num_steps, num_train_timesteps)
    if timesteps[0] >= num_train_timesteps:
        raise UserError(
            f"grid {grid} with num_steps={num_steps} begins at t = {timesteps[0]}, and the schedule ends at "
            f"{num_train_timesteps - 1}; use fewer steps, or another grid"
        )
    return timesteps


def check_timesteps(timesteps: Sequence[int], num_train_timesteps: int) -> None:
    """Raise `UserError` unless `timesteps` is a non-empty, strictly descending list within the schedule."""
    descending = all(later < earlier for earlier, later in itertools.pairwise(timesteps))
    if not timesteps or not descending or timesteps[0] >= num_train_timesteps or timesteps[-1] < 0:
        raise UserError(
            f"timesteps must descend strictly within {num_train_timesteps - 1}..0, got {str(list(timesteps))[:80]}"
        )
