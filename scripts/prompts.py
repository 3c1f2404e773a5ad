"""Sample images from prompts with a stitched text-to-image pipeline; also under torchrun.

python -m scripts.prompts prompts=table_2 captions=FILE stitch.fraction=0.3 out=DIR
"""

import os
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from scripts.cli import ROOT, resolved, run_command

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
    from scripts.progress import Progress
    from scripts.prompt_plan import DTYPES, make_prompt_plan
    from scripts.prompting import shard_maker
    from tstitch.generate import generate
    from tstitch.ranks import choose_device, joined_ranks
    from tstitch.run import Run, check_run, identity_hash, locked, open_run, read_json, write_json
    from tstitch.timing import StageClock, peak_memory_mb

    plan = make_prompt_plan(settings)
    for quiet in (disable_progress_bar, transformers.logging.disable_progress_bar):
        quiet()
    with joined_ranks() as ranks:
        device = choose_device(settings["device"], ranks.local_rank)
        if device.type == "cpu":
            torch.set_num_threads(1)  # convolutions round by the number of threads, and ranks would have fewer each
        identity = plan.identity(device.type)
        default = ROOT / "runs" / f"prompts-{'-'.join(plan.names)}-{identity_hash(identity)}"
        run = Run(Path(settings["out"]) if settings["out"] is not None else default, identity)
        check_run(run)
        with locked(run.directory) if ranks.is_main else nullcontext():
            if ranks.is_main:
                print(plan.describe())
            pipe = load_pipeline(plan.spec, plan.allocation, DTYPES[plan.precision], device)
            if ranks.is_main:
                facts = {
                    "num_steps": len(plan.timesteps),
                    "timesteps": plan.timesteps,
                    "denoisers": plan.names,
                    "evaluation": settings["evaluation"],
                    "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                    "versions": _versions(),
                }
                open_run(run, facts)
                write_json(run.directory / CAPTIONS, {"captions": plan.captions})
            ranks.wait_for_all()
            clock = StageClock(device)
            make_shard = shard_maker(plan, pipe, device, clock)
            side = plan.resize or plan.call.get("height") or 1024
            generate(
                run, ranks, make_shard, 3 * side**2, print, lambda missing: Progress(run, missing, "prompts"), clock
            )
            measured = ranks.gather((clock.totals(), peak_memory_mb(device)))
            if ranks.is_main:
                seconds = {stage: sum(own.get(stage, 0.0) for own, _ in measured) for stage in measured[0][0]}
                earlier = read_json(run.record)
                latest = {"seconds_latest_launch": seconds, "peak_memory_mb": measured[0][1]}
                write_json(run.record, {**earlier, **latest})
        if ranks.is_main:
            print(run.samples)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")}


if __name__ == "__main__":
    run_command("prompts", main)
