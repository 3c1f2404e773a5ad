"""Every schedule of ten segments, held against the rules that choose one without trying."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr

from evaluation.metrics.trajectories import relative_error
from experiments.analysis import Analysis
from experiments.trajectories import outputs_along, trajectory
from models.pair import Pair
from sampling.plan import Plan
from settings.measures import AnalyseSettings
from tstitch.allocation import Allocation
from tstitch.errors import UserError
from tstitch.routers.knapsack import segment_allocations
from tstitch.routers.track import step_weights, track_allocation

SEGMENTS = 10


def analyse_schedules(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Measure how far each of the 1,024 schedules ends from the large model, and how near the rules come to the best.

    A rule sees the disagreement of each segment along the large model's trajectory, and is given the number of
    segments that are the small model's.
    """
    num_steps = len(plan.timesteps)
    if len(plan.specs) != 2 or num_steps % SEGMENTS:
        raise UserError(
            f"analysis=schedules needs two denoisers and a multiple of {SEGMENTS} steps, got {len(plan.specs)} and "
            f"{num_steps}"
        )
    target = trajectory(plan, pair, (1,) * num_steps, device)[-1]
    errors = {
        allocation: float(relative_error(trajectory(plan, pair, allocation, device)[-1], target).mean())
        for allocation in segment_allocations(num_steps, SEGMENTS)
    }
    small, large = outputs_along(plan, pair, 1, device)
    disagreement = relative_error(small, large).mean(dim=1).numpy()
    weighted = disagreement * np.array(step_weights(plan.steps))
    length = num_steps // SEGMENTS
    by_segment, by_segment_weighted = (own.reshape(SEGMENTS, length).sum(axis=1) for own in (disagreement, weighted))
    rules = {
        "first": [tuple(range(k)) for k in range(SEGMENTS + 1)],
        "last": [tuple(range(SEGMENTS - k, SEGMENTS)) for k in range(SEGMENTS + 1)],
        "track": [_least(by_segment, k) for k in range(SEGMENTS + 1)],
        "weighted track": [_least(by_segment_weighted, k) for k in range(SEGMENTS + 1)],
    }
    by_rule = {name: [errors[_expand(chosen, length)] for chosen in own] for name, own in rules.items()}
    of_count = [
        [error for allocation, error in errors.items() if allocation.count(0) == k * length]
        for k in range(SEGMENTS + 1)
    ]
    by_rule["best"] = [min(own) for own in of_count]
    by_rule["mean"] = [float(np.mean(own)) for own in of_count]
    proxy = [sum(weighted[k] for k in range(num_steps) if allocation[k] == 0) for allocation in errors]
    correlation = float(spearmanr(proxy, list(errors.values())).statistic)
    names = list(by_rule)
    rows = [[f"{k / SEGMENTS:g}", *(f"{by_rule[name][k]:.3f}" for name in names)] for k in range(SEGMENTS + 1)]
    sentences = [
        f"{plan.pair}, {num_steps} steps: the sum of weighted disagreements orders the 1,024 schedules with a rank "
        f"correlation of {correlation:.3f} with their distance from the large model.",
        *(_describe(name, by_rule) for name in rules),
    ]
    data = {"fractions": [k / SEGMENTS for k in range(SEGMENTS + 1)], "errors": by_rule, "correlation": correlation}
    return Analysis(sentences, data, ["fraction of the small model", *names], rows)


def _least(values: np.ndarray, num: int) -> tuple[int, ...]:
    return tuple(segment for segment, model in enumerate(track_allocation(values.tolist(), num)) if model == 0)


def _expand(segments: tuple[int, ...], length: int) -> Allocation:
    return tuple(0 if step // length in segments else 1 for step in range(SEGMENTS * length))


def _describe(name: str, by_rule: dict[str, list[float]]) -> str:
    """How far a rule ends from the large model, beside the best schedule of as many small segments."""
    inner = range(1, SEGMENTS)
    ratios = [by_rule[name][k] / by_rule["best"][k] for k in inner]
    return f"The rule {name} ends {np.mean(ratios):.2f}x as far away as the best schedule of its cost, in the mean."
