"""From the settings `stitch` and `allocation` to an allocation."""

from collections.abc import Sequence

from models.pair import DenoiserSpec
from tstitch.allocation import (
    Allocation,
    allocation_from_counts,
    allocation_from_fractions,
    allocation_from_list,
)
from tstitch.arrangement import arrange
from tstitch.boundaries import allocation_from_log_snr, allocation_from_timesteps
from tstitch.errors import UserError
from tstitch.schedule import NoiseSchedule

ORDERED = "small_to_large"
# What stands in for fractions.
EXPLICIT = ("counts", "denoiser_per_step", "timestep_boundaries", "log_snr_boundaries")


def resolve_allocation(
    config: dict, timesteps: list[int], schedule: NoiseSchedule, specs: Sequence[DenoiserSpec]
) -> Allocation:
    """The allocation of a sampling configuration.

    Raises:
        UserError: names the setting that does not fit the denoisers or the trajectory.
    """
    stitch, order, names = config["stitch"], config["allocation"]["order"], list(config["pair"]["denoisers"])
    explicit = [key for key in EXPLICIT if stitch[key] is not None]
    if len(explicit) > 1:
        raise UserError(f"stitch.{explicit[0]} and stitch.{explicit[1]} are both set; give one")
    key = explicit[0] if explicit else "fractions"
    values = stitch[key]
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise UserError(f"stitch.{key} must be a list of numbers, got {values!r}")
    if key not in ("fractions", "counts") and order != ORDERED:
        raise UserError(f"stitch.{key} says which step is whose, so allocation.order={order} has no meaning with it")
    if key == "denoiser_per_step":
        return allocation_from_list(values, len(timesteps), len(specs))
    num_values = len(specs) - key.endswith("boundaries")
    if len(values) != num_values:
        plural = "s" if num_values != 1 else ""
        raise UserError(
            f"stitch.{key} needs {num_values} value{plural} ({', '.join(names)}), got {len(values)}: {values}"
        )
    if key == "timestep_boundaries":
        return allocation_from_timesteps(values, timesteps)
    if key == "log_snr_boundaries":
        return allocation_from_log_snr(values, timesteps, schedule)
    if key == "counts":
        return arrange(allocation_from_counts(values, len(timesteps)), order, config["seed"])
    rule = config["allocation"]["rule"]
    if rule == "timestep" and specs[0].family == "ldm":
        rule = "timestep_strict"  # what the release does for this family
    return arrange(allocation_from_fractions(values, timesteps, rule), order, config["seed"])
