"""Who takes which step of a stitched pipeline, and how many steps, for a budget of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tstitch.allocation import Allocation
from tstitch.calibration import are_whole, calibrate, sharing
from tstitch.costs import Costs
from tstitch.dropin.stitch import find_stitched
from tstitch.errors import UserError
from tstitch.expected_time import check_can_be_timed, measure_costs
from tstitch.routers.track import track_allocation
from tstitch.solvers.scheduler_steps import noise_levels, schedule_of

HIGHEST = 4096.0  # a noise level: some schedules begin with no signal at all


@dataclass(frozen=True)
class Setting:
    """A number of steps and who takes which, with the time of a call and its distance.

    Attributes:
        milliseconds: of a call with one prompt, from the times of each denoiser's step and of all else.
        distance: root mean square difference of its latents from the large denoiser's own ones with the most steps,
            from the same noise, over prompts and seeds.
    """

    num_inference_steps: int
    allocation: Allocation
    milliseconds: float
    distance: float


@dataclass(frozen=True)
class Fit:
    """The nearest setting within a budget, and the others that were tried, nearest first."""

    best: Setting
    others: tuple[Setting, ...]


def fit_budget(
    pipe: object, prompts: Sequence[str], *, budget_ms: float, num_inference_steps: Sequence[int] = (8, 12, 20, 30, 50),
    seeds: Sequence[int] = (0, 1, 2, 3), **call: object,
) -> Fit:  # fmt: skip
    """Choose the number of steps and who takes which, and let the pipeline's next calls go by it.

    Each denoiser is timed on this machine. For each number of steps the large one gets as many as the budget allows:
    the last ones, and those where the small one disagrees most, weighted by how far the solver moves there. Of these
    the one is taken whose latents are nearest to those of the large denoiser alone with the most steps.

    Args:
        pipe: stitched with one small denoiser.
        prompts: one or more that stand for those to come.
        budget_ms: milliseconds of a call with one prompt.
        num_inference_steps: to choose from.
        seeds: of the start noise of each prompt.
        call: further arguments of the pipeline's call, such as `guidance_scale`.

    Raises:
        UserError: nothing fits into the budget, or the pipeline is not stitched with one small denoiser.

    Example:
        >>> stitched = stitch(pipe, small, fraction=0)
        >>> fit = fit_budget(pipe, ["a cat"], budget_ms=60_000, num_inference_steps=[2, 4], seeds=[0])
        >>> image = pipe("a cat", num_inference_steps=fit.best.num_inference_steps).images[0]
        >>> stitched.allocation == fit.best.allocation
        True
    """
    _, stitched = find_stitched(pipe)
    if not are_whole(num_inference_steps, least=1) or not budget_ms > 0:
        raise UserError(
            f"fit_budget needs a list of numbers of steps and milliseconds above 0, got {num_inference_steps!r} and "
            f"{budget_ms!r}"
        )
    if isinstance(prompts, str) or not prompts:
        raise UserError(f"fit_budget needs a list of prompts, got {prompts!r}")
    if not are_whole(seeds, least=0):
        raise UserError(f"fit_budget needs a list of seeds, got {seeds!r}")
    if own := {"generator", "output_type", "return_dict"} & call.keys():
        raise UserError(f"fit_budget sets {min(own)} itself; seeds= are those of the start noise")
    check_can_be_timed(stitched)
    counts, seeds = sorted({int(count) for count in num_inference_steps}), [int(seed) for seed in seeds]
    most = counts[-1]
    inputs = [{**call, "prompt": prompt, "seed": seed} for prompt in prompts for seed in seeds]
    calibration = calibrate(pipe, prompts, num_inference_steps=most, seeds=seeds, **call)
    costs, _ = measure_costs(pipe, stitched, {**call, "prompt": prompts[0]}, most)
    candidates = []
    for count in counts:
        with sharing(stitched, fraction=1):  # the steps of a call that runs: of a late start, of shifted timesteps
            _latents(pipe, count, inputs[0])
        timesteps = stitched.trajectory.timesteps
        disagreement = _at(timesteps, calibration.timesteps, calibration.disagreement)
        losses = disagreement * _moves(pipe.scheduler, noise_levels(pipe.scheduler, timesteps))
        fitting = _allocations(losses, costs, budget_ms / 1000)
        if not fitting and not candidates:
            raise UserError(f"budget_ms={budget_ms:g} is too little: {count} steps of the small denoiser alone take "
                            f"{1000 * costs.seconds((0,) * len(timesteps)):.0f} ms")  # fmt: skip
        candidates += [(count, each) for each in fitting]
    with sharing(stitched, fraction=0):
        wanted = [_latents(pipe, most, own) for own in inputs]
    settings = []
    for count, allocation in candidates:
        with sharing(stitched, allocation=allocation):
            squares = [
                (_latents(pipe, count, own) - want).square().mean() for own, want in zip(inputs, wanted, strict=True)
            ]
        distance = float(torch.stack(squares).mean().sqrt())
        settings.append(Setting(count, allocation, 1000 * costs.seconds(allocation), distance))
    best, *others = sorted(settings, key=lambda each: (each.distance, each.milliseconds))
    stitched.allocate(allocation=best.allocation)
    return Fit(best, tuple(others))


def _allocations(losses: np.ndarray, costs: Costs, budget: float) -> list[Allocation]:
    """The allocations with as many large steps as fit: small first, and small where the losses (T,) are least."""
    total = len(losses)
    left = budget - costs.seconds((0,) * total)
    if left < 0:
        return []
    small, large = costs.of_step
    dearer = large - small
    num_large = total if dearer <= 0 else int(min(total, left / dearer))
    num_small = total - num_large
    return list(dict.fromkeys([(0,) * num_small + (1,) * num_large, track_allocation(losses.tolist(), num_small)]))


def _moves(scheduler: object, levels: Sequence[float | None]) -> np.ndarray:
    """How far each step moves the latents by its prediction (`tstitch.routers.track.step_weights`); 1 if unknown."""
    if None in levels:
        return np.ones(len(levels))
    sigmas = np.minimum(np.append(levels, 0.0), HIGHEST)
    moves, prediction = np.abs(np.diff(sigmas)), scheduler.config.get("prediction_type")
    if scheduler.config.get("use_flow_sigmas") or prediction == "flow_prediction" or schedule_of(scheduler) is None:
        return moves
    moves /= np.sqrt(1 + sigmas[1:] ** 2)
    return moves / np.sqrt(1 + sigmas[:-1] ** 2) if prediction == "v_prediction" else moves


def _at(timesteps: Sequence[float], known: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """The values at timesteps, by linear interpolation."""
    order = np.argsort(known)
    return np.interp(timesteps, np.array(known)[order], np.array(values)[order])


def _latents(pipe: object, num_steps: int, own: Mapping[str, object]) -> torch.Tensor:
    """The latents of a call, float64 on the host."""
    settings = {**own, "output_type": "latent", "num_inference_steps": num_steps}
    generator = torch.Generator().manual_seed(settings.pop("seed"))
    output = pipe(**settings, generator=generator, return_dict=False)[0]
    return torch.as_tensor(output).double().cpu()
