"""Choices for budgets of time beside an exhaustive grid: `python -m benchmarks.choice OUT --ms 4,8,16 pair=...`.

The grid has every solver, number of steps, guidance scale, execution, and share of the denoisers' steps in parts of a
quarter, small first. It is sampled with the noise of the reported numbers, on which the choice has not been made. For
each budget: the best point of the grid that fits by the same measured costs, and how much better than the choice it is.
That point is the best of many on the images that it is reported of, which favours it by chance.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from evaluation.metrics.influence import fid_spread
from evaluation.metrics.sources import open_source
from experiments.axes import parse_fractions
from experiments.choose.calibration import calibrate
from experiments.choose.candidates import Candidate, fits_memory
from experiments.choose.choose import POINTS, choose
from experiments.choose.costs import Execution, kept_costs, sampled_with
from experiments.choose.rounds import Sampler
from models.checkout import CONFIG_DIR, ROOT
from sampling.configuration import checked
from sampling.plan import make_plan
from settings.choose import ChooseSettings
from tstitch.costs import Costs
from tstitch.runs.json_files import write_json
from tstitch.runs.machine import device_name
from tstitch.runs.ranks import choose_device, joined_ranks

PART = 0.25


def list_grid(settings: ChooseSettings, costs: dict[tuple[Execution, float], Costs]) -> list[Candidate]:
    """List every setting, whatever it costs."""
    grid = []
    for sampler in settings.samplers:
        for num_steps in settings.num_steps:
            for (execution, scale), cost in costs.items():
                for shares in parse_fractions(f"0:1:{PART:g}", len(settings.pair.denoisers)):
                    given = sampled_with(settings, sampler, num_steps, scale, execution)
                    own = given.changed(stitch={"fractions": shares})
                    plan = make_plan(own)
                    grid.append(Candidate(plan, own, cost.seconds(plan.allocation)))
    return list({(each.title, each.plan.allocation): each for each in grid}.values())


def compare(settings: ChooseSettings, budgets: list[float], out: Path, device: torch.device) -> dict:
    """Choose for each budget, sample the grid, and compare."""
    calibration = settings.calibration or calibrate(settings, out, device)
    costs = kept_costs(settings, out, device)
    grid = list_grid(settings, costs)
    cheapest = 1000 * min(each.seconds for each in grid)
    if min(budgets) < cheapest:
        raise SystemExit(f"error: --ms {min(budgets):g} is too little: the cheapest setting takes {cheapest:.3g} ms")
    final = {"num_images": settings.final_images, "seed": settings.final_seed}
    choices = [choose(settings.changed(ms=ms), calibration, out, device).best.candidate for ms in budgets]
    with joined_ranks() as ranks:
        sampler = Sampler(settings, out / POINTS, device, ranks)
        runs = sampler.run([each.settings.changed(**final) for each in (*choices, *grid)])
        evaluation = sampler.of(grid[0].execution).evaluation
        pools = [evaluation.features(open_source(run.directory), ranks).pool for run in runs]
    compared = []
    for number, (ms, choice) in enumerate(zip(budgets, choices, strict=True)):
        fitting = [k for k, each in enumerate(grid) if each.seconds <= ms / 1000 and fits_memory(settings, each.plan)]
        fids = fid_spread([pools[number], *(pools[len(choices) + k] for k in fitting)], evaluation.reference.pool)
        best = min(range(1, len(fids.values)), key=lambda k: fids.values[k])
        compared.append(
            {
                "ms": ms,
                "choice": choice.title,
                "choice_fid": float(fids.values[0]),
                "best_of_grid": grid[fitting[best - 1]].title,
                "best_of_grid_fid": float(fids.values[best]),
                "num_fitting": len(fitting),
                "choice_minus_best": fids.difference(best, 0).as_dict(),
            }
        )
    points = [
        {"title": each.title, "seconds": each.seconds, "fid": float(fid)}
        for each, fid in zip(grid, fid_spread(pools[len(choices) :], evaluation.reference.pool).values, strict=True)
    ]
    return {
        "pair": settings.pair.name,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "num_images": settings.final_images,
        "seed": settings.final_seed,
        "budgets": compared,
        "grid": points,
    }


def _budgets(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the directory of all points, which are kept")
    parser.add_argument("--ms", type=_budgets, required=True, help="budgets: milliseconds for an image, with commas")
    arguments, overrides = parser.parse_known_args(argv)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = checked("choose", compose("choose", [f"ms={max(arguments.ms):g}", *overrides]))
    device = choose_device(settings.device, local_rank=0)
    result = compare(settings, arguments.ms, arguments.out, device)
    path = ROOT / "benchmarks" / "results" / f"choice_{settings.pair.name}.json"
    write_json(path, result)
    for each in result["budgets"]:
        of_grid = f"the best of {each['num_fitting']} points of the grid that fit, {each['best_of_grid']}"
        fids = f"FID {each['choice_fid']:.2f} and {each['best_of_grid_fid']:.2f}"
        low, high = each["choice_minus_best"]["interval95"]
        print(f"{each['ms']:g} ms: {each['choice']}, and {of_grid}: {fids}, difference {low:+.2f} to {high:+.2f}")
    print(path)


if __name__ == "__main__":
    main()
