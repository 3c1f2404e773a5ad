"""Which denoiser takes which step, and what the settings of other codebases mean here.

python -m scripts.allocation pair=digits_dit_s_xl sampler.num_steps=50 denoising_end=0.8
"""

from itertools import pairwise

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

FOREIGN = ("denoising_end", "boundary_ratio", "unet_s_ratio")


def main(config: DictConfig) -> None:
    from sampling.plan import make_plan
    from tstitch.allocation import MAX_SPANS, log_snr_at
    from tstitch.errors import UserError

    settings = resolved(config)
    given = [key for key in FOREIGN if settings[key] is not None]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are both set; give one")
    plan = make_plan({**settings, "dry_run": True})  # needs no weights
    if given:
        print("\n".join(explain(given[0], settings, plan.timesteps, plan.schedule.num_train_timesteps)))
        return
    print(plan.describe())
    print(f"allocation: {list(plan.allocation)}")
    switches = [step for step, pair in enumerate(pairwise(plan.allocation), start=1) if pair[0] != pair[1]]
    log_snr, takers = log_snr_at(plan.timesteps, plan.schedule), [plan.names[i] for i in plan.allocation]
    for step in switches if len(switches) <= MAX_SPANS else []:
        names, t, ratio = ([values[step - 1], values[step]] for values in (takers, plan.timesteps, log_snr))
        print(
            f"after step {step} {names[0]} hands over to {names[1]}: "
            f"t = {t[0]} and {t[1]}, log SNR {ratio[0]:.3f} and {ratio[1]:.3f}"
        )


def explain(key: str, settings: dict, timesteps: list[int], num_train_timesteps: int) -> list[str]:
    """What a foreign setting means in steps of this trajectory, and the setting here that does the same."""
    from tstitch.allocate import (
        steps_of_unet_s_ratio,
        timestep_of_boundary_ratio,
        timestep_of_denoising_end,
    )
    from tstitch.allocation import allocation_from_timesteps
    from tstitch.errors import UserError

    value, num_steps = settings[key], len(timesteps)
    if key == "unet_s_ratio":
        calls = settings["num_calls"] or num_steps
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


if __name__ == "__main__":
    run_command("allocation", main)
