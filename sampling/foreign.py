"""Settings of other codebases in steps of ours: `denoising_end` (SDXL), `boundary_ratio` (Wan2.2), `unet_s_ratio`."""

from collections.abc import Sequence

from settings.allocation import AllocationSettings
from tstitch.allocation import allocation_from_timesteps
from tstitch.errors import UserError

FOREIGN = ("denoising_end", "boundary_ratio", "unet_s_ratio")


def explain(key: str, settings: AllocationSettings, timesteps: Sequence[int], num_train_timesteps: int) -> list[str]:
    """Say what a foreign setting means in steps of this trajectory, and the setting here that does the same.

    Args:
        key: of `FOREIGN`.
        settings: have a value under `key`.
    """
    value, num_steps = getattr(settings, key), len(timesteps)
    if key == "unet_s_ratio":
        calls = settings.num_calls or num_steps
        if calls not in (num_steps, num_steps + 1):
            raise UserError(f"num_calls must be {num_steps}, or {num_steps + 1} for PNDM, got {calls}")
        small = steps_of_unet_s_ratio(value, calls)
        # PNDM's second and third call belong to one step.
        first = small - 1 if calls > num_steps and small > 1 else small
        rule = f"the small model takes {small} of {calls} calls, the release rounds down"
    else:
        convert = {"denoising_end": timestep_of_denoising_end, "boundary_ratio": timestep_of_boundary_ratio}[key]
        boundary = convert(value, num_train_timesteps)
        first = allocation_from_timesteps([boundary], timesteps).count(0)
        rule = f"the first model takes t >= {boundary:g}: stitch.timestep_boundaries=[{boundary:g}]"
    return [
        f"{key}={value}: {rule}",
        f"that is {first} of {num_steps} steps here: stitch.counts=[{first},{num_steps - first}]",
    ]


def timestep_of_denoising_end(denoising_end: float, num_train_timesteps: int = 1000) -> float:
    """Return the timestep boundary of SDXL's `denoising_end` in diffusers: the base model takes `t >= boundary`."""
    _check_share("denoising_end", denoising_end)
    return round(num_train_timesteps - denoising_end * num_train_timesteps)


def timestep_of_boundary_ratio(boundary_ratio: float, num_train_timesteps: int = 1000) -> float:
    """Return the timestep boundary of Wan2.2's `boundary_ratio`: the high-noise one takes `t >= ratio * timesteps`."""
    _check_share("boundary_ratio", boundary_ratio)
    return boundary_ratio * num_train_timesteps


def steps_of_unet_s_ratio(unet_s_ratio: float, num_calls: int) -> int:
    """Count the calls of the small U-Net under the release's `unet_s_ratio`: those with `i / num_calls <= ratio`.

    Calls i count from 1; `num_calls` is the length of the scheduler's list of timesteps: 51 for PNDM at 50 steps.
    """
    _check_share("unet_s_ratio", unet_s_ratio)
    return sum(call / num_calls <= unet_s_ratio for call in range(1, num_calls + 1))


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UserError(f"{name} must lie in [0, 1], got {value!r}")
