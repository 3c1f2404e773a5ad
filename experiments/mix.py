"""The mix that a run in which images decide turned out to be: shares of the steps, evaluations, decisions."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sampling.cost import count_evaluations
from sampling.job import RunPlan
from sampling.plan import Plan
from tstitch.router import AllocationRouter
from tstitch.runs.run import Run
from tstitch.runs.shards import read_decisions

COUNTS = "evaluations"  # the decision that is no choice, but what it cost


def is_routed(plan: RunPlan) -> bool:
    """Tell whether a run has no allocation: its images decide, or several denoisers take part in a step."""
    return isinstance(plan, Plan) and plan.allocation is None


def measured_mix(plan: RunPlan, run: Run) -> dict:
    """Describe a finished run under the names of `evaluation.report.sweep.Point`; of a pipeline, nothing.

    Where nothing was to decide these are the evaluations of its allocation. Else the share of the large denoiser is
    that of its evaluations among those of the large denoiser alone.
    """
    if not isinstance(plan, Plan):
        return {}
    if not is_routed(plan):
        return {"evaluations": _by_name(plan, count_evaluations(plan).evaluations)}
    decisions = read_decisions(run.shards, run.blocks, run.id)
    # Not those of `run.json`: these are of the launches, whatever became of their images.
    counts = (
        dict(enumerate(decisions[COUNTS].mean(axis=0).tolist())) if decisions else count_evaluations(plan).evaluations
    )
    evaluations = _by_name(plan, counts)
    last = len(plan.specs) - 1
    alone = count_evaluations(replace(plan, router=AllocationRouter((last,) * len(plan.timesteps))))
    share = min(1.0, evaluations.get(plan.names[last], 0.0) / alone.evaluations[last])
    return {
        "fractions": [1 - share, share],
        "evaluations": evaluations,
        "decisions": {name: np.bincount(own).tolist() for name, own in decisions.items() if name != COUNTS},
    }


def _by_name(plan: Plan, counts: Mapping[int, float]) -> dict[str, float]:
    return {plan.names[model]: float(count) for model, count in sorted(counts.items())}
