"""Settings that a budget allows, and for each solver, number of steps and guidance scale who takes which step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from experiments.choose.costs import Execution, execution_of, sampled_with
from models.pair import build_denoiser
from models.placement.precision import DTYPES
from sampling.calibration import read_disagreement
from sampling.plan import Plan, make_plan
from settings.choose import ChooseSettings
from tstitch.allocation import Allocation
from tstitch.costs import Costs
from tstitch.errors import UserError
from tstitch.routers.knapsack import best_allocation
from tstitch.routers.track import step_weights


@dataclass(frozen=True)
class Candidate:
    """One setting: a plan, and its predicted seconds for an image."""

    plan: Plan
    settings: ChooseSettings
    seconds: float

    @property
    def execution(self) -> Execution:
        """How its networks are executed."""
        return execution_of(self.plan)

    @property
    def overrides(self) -> list[str]:
        """The choice as overrides of `scripts.sample`."""
        steps = ",".join(map(str, self.plan.allocation))
        return [
            f"sampler={self.plan.sampler_name}",
            f"sampler.num_steps={self.settings.sampler.num_steps}",
            f"guidance.scale={self.plan.scales[-1]:g}",
            f"precision={self.plan.precision}",
            f"compile={self.plan.compile}",
            "stitch.fractions=null",
            f"stitch.denoiser_per_step=[{steps}]",
        ]

    @property
    def title(self) -> str:
        """A short name: solver, steps, guidance scale, and the steps of each denoiser."""
        counts = "/".join(str(self.plan.allocation.count(model)) for model in range(len(self.plan.specs)))
        return (
            f"{self.plan.sampler_name}, {counts} steps, guidance {self.plan.scales[-1]:g}, {self.execution}"
            f"{'' if self.is_in_order else ', mixed order'}"
        )

    @property
    def is_in_order(self) -> bool:
        """Whether small denoisers come first."""
        return list(self.plan.allocation) == sorted(self.plan.allocation)


def list_candidates(
    settings: ChooseSettings, costs: dict[tuple[Execution, float], Costs], calibration: str
) -> list[Candidate]:
    """List the settings within the budget: for each solver, steps, scale and execution at most two allocations.

    They are the one that costs the most of those from small to large, and the one of the least weighted disagreement
    of all (`tstitch.routers.knapsack`), where that is another. Where memory is limited, also each denoiser alone.

    Args:
        costs: by execution and guidance scale.

    Raises:
        UserError: nothing fits into the budget.
    """
    within, cheapest = [], float("inf")
    for sampler in settings.samplers:
        for num_steps in settings.num_steps:
            for (execution, scale), cost in costs.items():
                given = sampled_with(settings, sampler, num_steps, scale, execution)
                steps = make_plan(given).steps
                cheapest = min(cheapest, cost.seconds((0,) * len(steps)))
                for allocation in _allocations(given, steps, cost, settings.ms / 1000, calibration):
                    own = given.changed(stitch={"fractions": None, "denoiser_per_step": list(allocation)})
                    within.append(Candidate(make_plan(own), own, cost.seconds(allocation)))
    fitting = [each for each in within if fits_memory(settings, each.plan)]
    if not within:
        raise UserError(f"ms={settings.ms:g} is too little: the cheapest setting takes {1000 * cheapest:.3g} ms")
    if not fitting:
        least = min(gigabytes(each.plan) for each in within)
        raise UserError(f"gb={settings.gb:g} is too little: the denoisers of the smallest setting have {least:.3g} GB")
    return list({(each.title, each.plan.allocation): each for each in fitting}.values())  # lists may name one twice


def _allocations(
    settings: ChooseSettings, steps: Sequence, cost: Costs, budget_s: float, calibration: str
) -> list[Allocation]:
    """The allocations of one solver, number of steps and scale that are worth a try."""
    num_models, left = len(cost.of_step), budget_s - cost.fixed
    weights = {denoiser.name: Path(denoiser.path) for denoiser in settings.pair.denoisers.values()}
    disagreement = read_disagreement(Path(calibration), weights, [step.timestep for step in steps])
    losses = disagreement * np.array(step_weights(steps))
    with_large = np.vstack([losses, np.zeros(len(steps))]).T
    try:
        best = best_allocation(with_large, cost.of_step, left)
    except UserError:
        return []
    counts = [best.count(model) for model in range(num_models)]
    in_order = tuple(model for model, count in enumerate(counts) for _ in range(count))
    alone = [(model,) * len(steps) for model in range(num_models)] if settings.gb is not None else []
    return list(dict.fromkeys([in_order, best, *(each for each in alone if cost.seconds(each) <= budget_s)]))


def fits_memory(settings: ChooseSettings, plan: Plan) -> bool:
    """Whether a plan's denoisers fit into the memory that was given."""
    return settings.gb is None or gigabytes(plan) <= settings.gb


def gigabytes(plan: Plan) -> float:
    """The weights of the denoisers that are in memory together, in their precisions."""
    with torch.device("meta"):
        networks = {index: build_denoiser(plan.specs[index]).network for index in plan.used}
    sizes = [
        sum(values.numel() for values in network.state_dict().values()) * DTYPES[plan.precisions[index]].itemsize
        for index, network in networks.items()
    ]
    return (sum(sizes) if plan.residency == "both" else max(sizes)) / 1e9
