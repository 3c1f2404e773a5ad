"""From settings to the router of a run: what is calibrated is read, what is static becomes an allocation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.pair import DenoiserSpec
from sampling.calibration import read_disagreement
from sampling.flops import count_flops
from settings.router import MDD, MLEM, AnyRouter, Held, Hybrid, Knapsack, LatentChange, Probe, Track
from tstitch.allocation import Allocation
from tstitch.errors import UserError
from tstitch.router import AllocationRouter, Router
from tstitch.routers.held import HeldCorrectionRouter
from tstitch.routers.hybrid import HybridRouter
from tstitch.routers.knapsack import best_allocation
from tstitch.routers.latent_change import LatentChangeRouter
from tstitch.routers.mdd import MDDRouter
from tstitch.routers.ml_em import MLEMRouter, geometric_probabilities, spread_budget
from tstitch.routers.probe import ProbeRouter
from tstitch.routers.track import step_weights, track_allocation
from tstitch.solvers.steps import Step


def make_router(
    settings: AnyRouter,
    allocation: Allocation,
    specs: Sequence[DenoiserSpec],
    scales: Sequence[float],
    steps: Sequence[Step],
) -> Router:
    """Make the router that settings ask for.

    Args:
        allocation: what `stitch` asks for, small to large; of it TRACK and ML-EM take the number of small steps.
        scales: the guidance scale of each denoiser.

    Raises:
        UserError: a calibration that cannot be used, or a budget that no allocation keeps.
    """
    order = {"small_to_large": (0, 1), "large_to_small": (1, 0)}
    match settings:
        case Track():
            disagreement = _disagreement(settings.calibration, specs, steps)[0]
            weights = step_weights(steps) if settings.weighted else np.ones(len(steps))
            return AllocationRouter(track_allocation((disagreement * weights).tolist(), allocation.count(0)))
        case Knapsack():
            return AllocationRouter(_knapsack(settings, specs, scales, steps))
        case LatentChange():
            _check_first_step(settings.min_steps, steps)
            return LatentChangeRouter(*order[settings.order], settings.delta, settings.min_steps)
        case Probe():
            _check_first_step(settings.min_steps, steps)
            first, then = order[settings.order]
            return ProbeRouter(first, then, settings.threshold, settings.every, settings.min_steps)
        case MDD():
            return MDDRouter(settings.threshold)
        case MLEM():
            return MLEMRouter(_probabilities(settings, allocation.count(1), specs, steps), settings.draws)
        case Held():
            return HeldCorrectionRouter(settings.every)
        case Hybrid():
            return _hybrid(settings, specs[-1], order[settings.order], steps)
    return AllocationRouter(allocation)


def _hybrid(settings: Hybrid, large: DenoiserSpec, order: tuple[int, int], steps: Sequence[Step]) -> HybridRouter:
    taken = settings.first_share + settings.hybrid_share
    if taken > 1 + 1e-9:
        raise UserError(f"router.first_share + router.hybrid_share must be at most 1, got {taken:g}")
    own = getattr(large.config, "patch_size", settings.patch_size)
    side = large.config.input_size
    if own != settings.patch_size or side % own:
        raise UserError(f"router.patch_size must be {own}, as {large.name} has it, got {settings.patch_size}")
    first_steps = round(settings.first_share * len(steps))
    hybrid_steps = round(taken * len(steps)) - first_steps
    return HybridRouter(order[0], first_steps, hybrid_steps, settings.region, settings.every, settings.patch_size)


def _check_first_step(min_steps: int, steps: Sequence[Step]) -> None:
    if min_steps > len(steps):
        raise UserError(f"router.min_steps must be at most the {len(steps)} solver steps, got {min_steps}")


def _disagreement(calibration: str, specs: Sequence[DenoiserSpec], steps: Sequence[Step]) -> np.ndarray:
    if len(specs) < 2:
        raise UserError(f"this router needs two denoisers or more, the pair has {specs[0].name} alone")
    weights = {spec.name: spec.weights for spec in specs}
    return read_disagreement(Path(calibration), weights, [step.timestep for step in steps])


def _knapsack(
    settings: Knapsack, specs: Sequence[DenoiserSpec], scales: Sequence[float], steps: Sequence[Step]
) -> Allocation:
    costs = settings.costs
    if costs is None:
        costs = [count_flops(spec) * (1 if scale == 1 else 2) for spec, scale in zip(specs, scales, strict=True)]
    if len(costs) != len(specs):
        raise UserError(f"router.costs needs {len(specs)} values, one for each denoiser, got {costs}")
    losses = _disagreement(settings.calibration, specs, steps) * np.array(step_weights(steps))
    with_large = np.vstack([losses, np.zeros(len(steps))]).T
    try:
        return best_allocation(with_large, costs, settings.budget * costs[-1] * len(steps))
    except UserError as error:
        cheapest = min(costs) / costs[-1]
        raise UserError(
            f"router.budget={settings.budget:g} of the large model's cost is too small: the cheapest denoiser alone "
            f"takes {cheapest:.3g}"
        ) from error


def _probabilities(
    settings: MLEM, num_large: int, specs: Sequence[DenoiserSpec], steps: Sequence[Step]
) -> tuple[float, ...]:
    num_steps = len(steps)
    if settings.probabilities == "fixed":
        return (num_large / num_steps,) * num_steps
    if settings.probabilities == "geometric":
        return geometric_probabilities(num_steps, num_large / num_steps, settings.ratio)
    losses = _disagreement(settings.calibration, specs, steps)[0] * np.array(step_weights(steps))
    return spread_budget(losses.tolist(), num_large)
