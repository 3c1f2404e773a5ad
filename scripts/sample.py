"""Sample images with a stitched pair; also under torchrun.

python -m scripts.sample pair=digits_dit_s_xl stitch.fractions=[0.4,0.6] num_images=1000 out=DIR
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.prompts import PromptSettings
    from settings.sampling import SamplingSettings


def main(settings: SamplingSettings | PromptSettings) -> None:
    from sampling.jobs import make_jobs, plan_run

    plan = plan_run(settings)

    # A mistake in the settings should not wait for these.
    from sampling.cost import describe_cost, make_estimate, missing_evaluation, missing_weights
    from sampling.run import place_run, sample_run
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import check_run, locked

    if settings.dry_run:
        device = choose_device(settings.device, local_rank=0)
        estimate = make_estimate([plan], device, getattr(settings, "tflops", None))
        missing = [*missing_weights([plan]), *missing_evaluation([plan])]
        print("\n".join([*describe_cost(plan, settings.out, device, estimate), *missing]))
        return
    with joined_ranks() as ranks:
        device = choose_device(settings.device, ranks.local_rank, ranks.local_world_size)
        run = place_run(settings.out, plan.directory_name(), plan.identity(device.type))
        check_run(run)
        with locked(run.directory) if ranks.is_main else nullcontext():
            if ranks.is_main:
                print(plan.describe())
            sample_run(make_jobs([plan], device).job(plan), run, ranks)
        if ranks.is_main:
            print(run.samples)


if __name__ == "__main__":
    run_command("sample", main)
