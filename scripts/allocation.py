"""Which denoiser takes which step, and what the settings of other codebases mean here.

python -m scripts.allocation pair=digits_dit_s_xl sampler.num_steps=50 denoising_end=0.8
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.allocation import AllocationSettings


def main(settings: AllocationSettings) -> None:
    from sampling.foreign import FOREIGN, explain
    from sampling.plan import make_plan
    from tstitch.allocation import MAX_SPANS, log_snr_at

    given = [key for key in FOREIGN if getattr(settings, key) is not None]
    plan = make_plan(settings.changed(dry_run=True))  # needs no weights
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


if __name__ == "__main__":
    run_command("allocation", main)
