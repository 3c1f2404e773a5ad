"""One point of a sweep under torchrun: sample and score it. `scripts.sweep ranks=N` starts it.

torchrun --nproc-per-node N -m scripts.point SETTINGS.json
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from scripts.cli import guarded, prepare_process


def main(path: Path) -> None:
    from experiments.evaluation import load_evaluation
    from experiments.points import run_point
    from sampling.networks import load_networks
    from sampling.plan import make_plan
    from sampling.run import place_run
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import locked, read_json

    content = read_json(path)
    plan = make_plan(content["settings"])
    with joined_ranks() as ranks:
        device = choose_device(content["settings"]["device"], ranks.local_rank, ranks.local_world_size)
        run = place_run(content["out"], plan.directory_name(), plan.identity(device.type))
        with locked(run.directory) if ranks.is_main else nullcontext():
            networks = load_networks(plan, device)
            run_point(plan, run, networks, load_evaluation(plan.evaluation, device, ranks), ranks, device)


if __name__ == "__main__":
    prepare_process()
    guarded(main)(Path(sys.argv[1]))
