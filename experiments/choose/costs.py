"""The cost of a trajectory on this machine, from a short measurement of each denoiser alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product, starmap
from pathlib import Path

import torch

from evaluation.speed.latency import measure_latency
from experiments.places import sampler_named
from sampling.jobs import make_jobs
from sampling.plan import Plan, make_plan
from settings.choose import ChooseSettings
from tstitch.costs import Costs, fit_costs
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.machine import device_name

COSTS = "costs.json"
FEW, MANY = 4, 12  # solver steps of the two runs of each denoiser


@dataclass(frozen=True)
class Execution:
    """How the networks are executed: the precision of the denoisers, and whether they are compiled."""

    precision: str
    compile: str

    def __str__(self) -> str:
        return self.precision if self.compile == "none" else f"{self.precision}, compile={self.compile}"


def execution_of(plan: Plan) -> Execution:
    """How a plan's networks are executed."""
    return Execution(plan.precision, plan.compile)


def sampled_with(
    settings: ChooseSettings, sampler: str, num_steps: int, scale: float | list[float], execution: Execution
) -> ChooseSettings:
    """The settings with another sampler, number of steps, guidance scale and execution."""
    own = sampler_named(sampler, settings.sampler, settings.pair.grid).changed(num_steps=num_steps)
    return settings.changed(sampler=own, guidance={"scale": scale}, **asdict(execution))


def measure_costs(
    settings: ChooseSettings, execution: Execution, scale: float | list[float], device: torch.device
) -> Costs:
    """The seconds of an image, from each denoiser alone at two numbers of steps."""
    num = len(settings.pair.denoisers)
    plans = [
        make_plan(
            sampled_with(settings, settings.samplers[0], num_steps, scale, execution).changed(
                stitch={"fractions": [float(k == model) for k in range(num)]}
            )
        )
        for model in range(num)
        for num_steps in (FEW, MANY)
    ]
    jobs, size = make_jobs(plans, device), settings.latency.batch_size
    calls = [partial(jobs.job(plan).sample, range(size)) for plan in plans]
    seconds = [latency.median_s / size for latency in measure_latency(calls, settings.latency.repeats, device)]
    few, many = (len(plan.steps) for plan in plans[:2])  # some grids give other numbers than were asked for
    return fit_costs(few, many, [(seconds[2 * model], seconds[2 * model + 1]) for model in range(num)])


def kept_costs(settings: ChooseSettings, out: Path, device: torch.device) -> dict[tuple[Execution, float], Costs]:
    """The costs by execution and scale: measured once for a machine, its networks and the way of timing, and kept."""
    costs = read_costs(settings, out, device)
    executions = starmap(Execution, product(settings.precisions, settings.compiles))
    asked = list(product(executions, settings.guidance_scales))
    for execution, scale in asked:
        is_guided = scale != 1
        alike = [own for (how, of), own in costs.items() if how == execution and (of != 1) == is_guided]
        if not alike:
            print(f"measuring the denoisers in {execution}")
            alike = [measure_costs(settings, execution, scale, device)]
        costs[execution, scale] = alike[0]
        write_costs(out, settings, device, costs)
    return {key: costs[key] for key in asked}


def read_costs(settings: ChooseSettings, out: Path, device: torch.device) -> dict[tuple[Execution, float], Costs]:
    """Read the costs that were measured as they would be now; empty where there are none."""
    kept = read_json(out / COSTS) if (out / COSTS).is_file() else None
    if not isinstance(kept, dict) or kept.get("measured") != _measured(settings, device):
        return {}
    return {
        (Execution(own["precision"], own["compile"]), own["scale"]): Costs(tuple(own["of_step"]), own["fixed"])
        for own in kept["costs"]
    }


def write_costs(
    out: Path, settings: ChooseSettings, device: torch.device, costs: Mapping[tuple[Execution, float], Costs]
) -> None:
    """Keep costs, with what they depend on."""
    rows = [{**asdict(how), "scale": scale, **asdict(own)} for (how, scale), own in costs.items()]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / COSTS, {"measured": _measured(settings, device), "costs": rows})


def _measured(settings: ChooseSettings, device: torch.device) -> dict:
    """The facts that costs depend on besides the execution: machine, networks, and how times are measured."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "sampler": settings.samplers[0],
        "residency": settings.residency,
        "networks": [each.path for each in settings.pair.denoisers.values()],
        "autoencoder": [settings.pair.autoencoder.path, settings.autoencoder_precision],
        **settings.latency.as_dict(),
    }
