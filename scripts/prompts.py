"""Sample images from prompts with a stitched text-to-image pipeline; also under torchrun.

python -m scripts.prompts prompts=table_2 captions=FILE stitch.fraction=0.3 out=DIR
"""

import os
from contextlib import nullcontext
from functools import partial

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

CAPTIONS = "captions.json"


def main(config: DictConfig) -> None:
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
    from sampling.filling import fill_run, place_run, run_facts
    from sampling.prompts.plan import make_prompt_plan
    from sampling.prompts.shards import make_shards
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import check_run, locked, open_run, write_json

    plan = make_prompt_plan(settings)
    for quiet in (disable_progress_bar, transformers.logging.disable_progress_bar):
        quiet()
    with joined_ranks() as ranks:
        device = choose_device(settings["device"], ranks.local_rank, ranks.local_world_size)
        if device.type == "cpu":
            torch.set_num_threads(1)  # convolutions round by the number of threads, and ranks would have fewer each
        run = place_run(settings["out"], f"prompts-{'-'.join(plan.names)}", plan.identity(device.type))
        check_run(run)
        with locked(run.directory) if ranks.is_main else nullcontext():
            if ranks.is_main:
                print(plan.describe())
            pipe = load_pipeline(plan.spec, plan.allocation, DTYPES[plan.precision], device)
            if ranks.is_main:
                packages = ("diffusers", "transformers", "numpy")
                open_run(run, run_facts(plan.timesteps, plan.names, plan.fractions, plan.evaluation, device, packages))
                write_json(run.directory / CAPTIONS, {"captions": plan.captions})
            fill_run(run, partial(make_shards, plan, pipe, device), plan.image_bytes, plan.fractions, ranks, device)
        if ranks.is_main:
            print(run.samples)


if __name__ == "__main__":
    run_command("prompts", main)
