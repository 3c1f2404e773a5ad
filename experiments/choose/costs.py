"""The cost of a trajectory on this machine, from a short measurement of each denoiser alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch

from evaluation.speed.latency import measure_latency
from sampling.jobs import make_jobs
from sampling.plan import Plan, make_plan
from settings.choose import ChooseSettings
from tstitch.allocation import Allocation

FEW, MANY = 4, 12  # solver steps of the two runs of each denoiser


@dataclass(frozen=True)
class Costs:
    """Seconds of an image: of a step of each denoiser, and of all that does not depend on the steps."""

    of_step: tuple[float, ...]
    fixed: float

    def seconds(self, allocation: Allocation) -> float:
        """The seconds of an image that is sampled by an allocation."""
        return self.fixed + sum(self.of_step[model] for model in allocation)


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


def measure_costs(
    settings: ChooseSettings, execution: Execution, scale: float | list[float], device: torch.device
) -> Costs:
    """Time each denoiser alone at two numbers of steps: the slope is a step's cost, the rest is fixed."""
    num = len(settings.pair.denoisers)
    plans = [
        make_plan(
            settings.changed(
                **asdict(execution),
                stitch={"fractions": [float(k == model) for k in range(num)]},
                guidance={"scale": scale},
                sampler={"num_steps": num_steps},
            )
        )
        for model in range(num)
        for num_steps in (FEW, MANY)
    ]
    jobs, size = make_jobs(plans, device), settings.latency.batch_size
    calls = [partial(jobs.job(plan).sample, range(size)) for plan in plans]
    seconds = [latency.median_s / size for latency in measure_latency(calls, settings.latency.repeats, device)]
    return fit_costs([(seconds[2 * model], seconds[2 * model + 1]) for model in range(num)])


def fit_costs(seconds: Sequence[tuple[float, float]]) -> Costs:
    """Fit the costs to the seconds of each denoiser alone with `FEW` and with `MANY` steps.

    What does not depend on the steps is the same for all denoisers: the mean of what each says.
    """
    of_step = tuple(max((many - few) / (MANY - FEW), 1e-9) for few, many in seconds)
    rest = [few - FEW * step for (few, _), step in zip(seconds, of_step, strict=True)]
    return Costs(of_step, max(sum(rest) / len(rest), 0.0))
