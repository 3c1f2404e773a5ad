"""Sample images from prompts with a stitched text-to-image pipeline; also under torchrun.

python -m scripts.prompts prompts=table_2 captions=FILE stitch.fraction=0.3 out=DIR
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from sampling.configuration import resolved
from scripts.cli import run_command

if TYPE_CHECKING:
    from settings.prompts import PromptSettings


def main(config: PromptSettings) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are local files only
    from tstitch.errors import UserError

    settings = resolved(config)
    try:
        import transformers
    except ImportError as error:
        raise UserError("this command needs the extra 'pipelines': pip install '.[research,pipelines]'") from error

    import torch
    from diffusers.utils.logging import disable_progress_bar

    from models.pipelines import load_pipeline
    from models.placement.precision import DTYPES
    from sampling.cost import describe_disk, describe_shards
    from sampling.prompts.job import PromptJob
    from sampling.prompts.plan import make_prompt_plan
    from sampling.run import place_run, sample_run
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import check_run, locked

    plan = make_prompt_plan(settings)
    for quiet in (disable_progress_bar, transformers.logging.disable_progress_bar):
        quiet()
    if settings["dry_run"]:
        line, num_missing = describe_shards(plan, settings["out"], choose_device(settings["device"], local_rank=0))
        print(plan.describe(), line, f"{num_missing} images to make", describe_disk(plan, num_missing), sep="\n")
        return
    with joined_ranks() as ranks:
        device = choose_device(settings["device"], ranks.local_rank, ranks.local_world_size)
        if device.type == "cpu":
            torch.set_num_threads(1)  # convolutions round by the number of threads, and ranks would have fewer each
        run = place_run(settings["out"], plan.directory_name(), plan.identity(device.type))
        check_run(run)
        with locked(run.directory) if ranks.is_main else nullcontext():
            if ranks.is_main:
                print(plan.describe())
            pipe = load_pipeline(plan.spec, plan.allocation, DTYPES[plan.precision], device)
            sample_run(PromptJob(plan, pipe, device), run, ranks)
        if ranks.is_main:
            print(run.samples)


if __name__ == "__main__":
    run_command("prompts", main)
