"""The analyses of a pair: each as data, a table and sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import torch

from evaluation.metrics.trajectories import (
    best_shares,
    cosine_similarity,
    describe_disagreement,
    describe_error,
    describe_oracle,
    describe_similarity,
    describe_spectrum,
    log_spectrum,
    over_images,
    relative_error,
)
from experiments.analysis import Analysis
from experiments.axes import parse_fractions
from experiments.schedule_analysis import analyse_schedules
from experiments.trajectories import outputs_along, trajectory
from models.pair import Pair
from sampling.networks import load_plan_pair
from sampling.plan import Plan
from settings.kinds import show
from settings.measures import AnalyseSettings
from tstitch.allocation import allocation_from_fractions, fractions_of, show_fractions
from tstitch.errors import UserError
from tstitch.routers.track import step_weights
from tstitch.solvers.steps import trajectory_steps


def analyse(kind: str, plan: Plan, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Run one of `ANALYSES` on the plan's images."""
    pair = load_plan_pair(replace(plan, compile="none"), device, range(len(plan.specs)))
    return ANALYSES[kind](plan, pair, settings, device)


def _similarity(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Compare models from the same noise, each on its own trajectory and all at the large one's latents (figure 3)."""
    last = len(plan.specs) - 1
    latents = [trajectory(plan, pair, (k,) * len(plan.timesteps), device) for k in range(last + 1)]
    outputs = outputs_along(plan, pair, last, device)
    pairs = [(a, b) for b in range(last, 0, -1) for a in range(b)]
    names = [f"{plan.names[b]} and {plan.names[a]}" for a, b in pairs]
    curves = {
        "latents, each model on its own way": [
            over_images(name, cosine_similarity(latents[a], latents[b]))
            for name, (a, b) in zip(names, pairs, strict=True)
        ],
        f"predictions at the latents of {plan.names[last]}": [
            over_images(name, cosine_similarity(outputs[a], outputs[b]))
            for name, (a, b) in zip(names, pairs, strict=True)
        ],
    }
    sentences = [
        f"{title.capitalize()}. {describe_similarity(curve, plan.timesteps)}"
        for title in curves
        for curve in curves[title]
    ]
    panels = {title: [asdict(curve) for curve in of_title] for title, of_title in curves.items()}
    of_latents = next(iter(curves.values()))
    rows = [
        [str(plan.timesteps[k]), *(f"{curve.mean[k]:.3f} ± {curve.std[k]:.3f}" for curve in of_latents)]
        for k in _ten(len(plan.timesteps))
    ]
    columns = ["t", *(f"latents of {name}" for name in names)]
    return Analysis(sentences, {"timesteps": plan.timesteps, "panels": panels}, columns, rows)


def _spectrum(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Measure the frequencies of the large model's latents after each step (figure 11)."""
    latents = trajectory(plan, pair, (len(plan.specs) - 1,) * len(plan.timesteps), device)
    spectra = torch.stack([log_spectrum(step) for step in latents])
    rows = [
        [str(plan.timesteps[k]), *(f"{value:.2f}" for value in spectra[k].tolist())] for k in _ten(len(plan.timesteps))
    ]
    return Analysis(
        [describe_spectrum(spectra, plan.timesteps)],
        {"timesteps": plan.timesteps, "log_amplitude": spectra.tolist()},
        ["t", *(f"frequency {k}" for k in range(spectra.shape[1]))],
        rows,
    )


def _error(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Measure the distance of the stitched latents from those of the large model at the end, by fraction."""
    fractions, errors = _end_errors(plan, pair, settings, device)
    small, curve = [values[0] for values in fractions], over_images("stitched", errors)
    rows = [
        [show_fractions(values), f"{mean:.3f} ± {std:.3f}"]
        for values, mean, std in zip(fractions, curve.mean, curve.std, strict=True)
    ]
    return Analysis(
        [describe_error(curve, small)],
        {"fractions": fractions, "curve": asdict(curve)},
        ["fractions", "relative distance"],
        rows,
    )


def _end_errors(
    plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device
) -> tuple[list[list[float]], torch.Tensor]:
    """The fractions that ran, and the distance (F, N) of each image's end from the large model's, relative to it."""
    num_denoisers = len(plan.specs)
    requested = parse_fractions(settings.fractions, num_denoisers)
    allocations = dict.fromkeys(allocation_from_fractions(values, plan.timesteps) for values in requested)
    target = trajectory(plan, pair, (num_denoisers - 1,) * len(plan.timesteps), device)[-1]
    errors = [relative_error(trajectory(plan, pair, allocation, device)[-1], target) for allocation in allocations]
    return [fractions_of(allocation, num_denoisers) for allocation in allocations], torch.stack(errors)


def _oracle(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Bound what a rule could gain that gives each image a fraction of its own, over one fraction for all."""
    if len(plan.specs) != 2:
        raise UserError(f"analysis=oracle is for two denoisers, pair={plan.pair} has {len(plan.specs)}")
    fractions, errors = _end_errors(plan, pair, settings, device)
    if len(fractions) < 2:
        raise UserError(f"analysis=oracle needs fractions of two allocations or more, got {show(settings.fractions)}")
    small, errors = torch.tensor([values[0] for values in fractions], dtype=torch.float64), errors.double()
    order = small.argsort()
    small, errors = small[order], errors[order]
    means, reached = best_shares(small, errors)
    rows = [
        [f"{fraction:g}", f"{own.mean():.3f}", f"{np.interp(float(own.mean()), reached, means):.3f}"]
        for fraction, own in zip(small.tolist(), errors, strict=True)
    ]
    data = {"fractions": small.tolist(), "error": errors.mean(dim=1).tolist()}
    return Analysis(
        [describe_oracle(small, errors, at=0.4)],
        {**data, "oracle_fractions": means, "oracle_error": reached},
        ["fraction for all", "mean distance", "mean fraction of an oracle at that distance"],
        rows,
    )


def _disagreement(plan: Plan, pair: Pair, settings: AnalyseSettings, device: torch.device) -> Analysis:
    """Measure how far each model's guided predictions lie from the large one's, along the large one's trajectory.

    It is the calibration of TRACK (arXiv 2609.30096); `weights` are the solver's, which TRACK-w multiplies it with.
    """
    *smaller, large = outputs_along(plan, pair, len(plan.specs) - 1, device)
    curves = [
        over_images(name, relative_error(output, large)) for name, output in zip(plan.names, smaller, strict=False)
    ]
    weights = step_weights(trajectory_steps(plan.schedule, plan.timesteps))
    rows = [
        [
            str(plan.timesteps[k]),
            f"{weights[k]:.3f}",
            *(f"{curve.mean[k]:.3f} ± {curve.std[k]:.3f}" for curve in curves),
        ]
        for k in _ten(len(plan.timesteps))
    ]
    return Analysis(
        [describe_disagreement(curve, plan.names[-1]) for curve in curves],
        {"timesteps": plan.timesteps, "weights": weights, "curves": [asdict(curve) for curve in curves]},
        ["t", "weight of the solver", *(f"disagreement of {curve.label}" for curve in curves)],
        rows,
    )


def _ten(num: int) -> list[int]:
    """List about ten positions of a list, the last one among them."""
    stride = max(1, num // 10)
    return sorted({*range(0, num, stride), num - 1})


ANALYSES: dict[str, Callable[[Plan, Pair, AnalyseSettings, torch.device], Analysis]] = {
    "similarity": _similarity,
    "spectrum": _spectrum,
    "error": _error,
    "disagreement": _disagreement,
    "oracle": _oracle,
    "schedules": analyse_schedules,
}
