"""From a budget to a setting: costs, candidates, rounds, and the chosen one beside the baseline on other seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from evaluation.metrics.influence import fid_spread
from evaluation.metrics.sources import open_source
from evaluation.metrics.spread import Spread, describe_difference
from evaluation.report.choice_plot import draw_choice
from evaluation.report.figures import save
from evaluation.speed.latency import measure_latency
from experiments.choose.ablation import ablations
from experiments.choose.candidates import list_candidates
from experiments.choose.costs import execution_of, kept_costs
from experiments.choose.rounds import Sampler, Scored, baseline_settings, nearest, race
from sampling.plan import make_plan
from settings.choose import ChooseSettings
from settings.sampling import SamplingSettings
from tstitch.errors import UserError
from tstitch.runs.json_files import write_json
from tstitch.runs.ranks import joined_ranks

CHOICE, POINTS, PICTURE = "choice.json", "points", "choice.png"
BASELINE, CHOSEN = "baseline", "choice"


@dataclass(frozen=True)
class Choice:
    """The chosen setting beside the baseline, with the numbers that it stands on.

    Attributes:
        others: what cannot be told apart from it, with the seeds of the choice.
        fid: on the final seed, of the choice and of the baseline; `difference` is paired by noise.
        seconds: measured for an image, by name: the baseline first, the choice without each of its parts, the choice.
        images: that were sampled on the way; 0 where all were there.
    """

    best: Scored
    others: list[Scored]
    num_candidates: int
    fid: tuple[float, float]
    difference: Spread
    seconds: dict[str, float]
    images: int

    @property
    def baseline_seconds(self) -> float:
        """The seconds of the baseline for an image."""
        return self.seconds[BASELINE]

    @property
    def own_seconds(self) -> float:
        """The seconds of the choice for an image."""
        return self.seconds[CHOSEN]


def choose(settings: ChooseSettings, calibration: str, out: Path, device: torch.device) -> Choice:
    """Choose a setting for the budget, and measure it beside the baseline.

    Args:
        calibration: of `analysis=disagreement`.

    Raises:
        UserError: nothing fits into the budget, or a run failed.
    """
    costs = kept_costs(settings, out, device)
    candidates = list_candidates(settings, costs, calibration)
    print(f"{len(candidates)} settings fit into {settings.ms:g} ms")
    with joined_ranks() as ranks:
        if ranks.world_size > 1:
            raise UserError("scripts.choose measures times, which one process does; start it without torchrun")
        sampler = Sampler(settings, out / POINTS, device, ranks)
        near = nearest(candidates, sampler)
        print(f"{len(near)} of them go on by their distance to the large model's own images")
        scored = race(near, sampler)
        return _held_against_baseline(scored, len(candidates), sampler)


def chosen_overrides(choice: Choice, settings: ChooseSettings, overrides: Sequence[str]) -> list[str]:
    """The overrides of `scripts.sample` that make images as chosen.

    Args:
        overrides: of `scripts.choose`; those that the choice has no say in are kept, those of a solver where it is the
            chosen one.
    """
    chosen = choice.best.candidate.overrides
    is_own_solver = choice.best.candidate.settings.sampler.name == settings.sampler.name
    of_choice = {*ChooseSettings.model_fields} - {*SamplingSettings.model_fields}
    replaced = {"out", "seed", "num_images", *(each.partition("=")[0] for each in chosen)}
    keys = {each: each.partition("=")[0] for each in overrides}
    kept = [each for each, key in keys.items() if key not in replaced and key.partition(".")[0] not in of_choice]
    return [*(each for each in kept if is_own_solver or not each.startswith("sampler.")), *chosen]


def describe_choice(choice: Choice, settings: ChooseSettings, overrides: Sequence[str]) -> list[str]:
    """Say what was chosen, what it is worth, and what cannot be told apart from it.

    Args:
        overrides: of `scripts.sample`, as chosen.
    """
    best, (own, baseline) = choice.best.candidate, choice.fid
    seconds, baseline_s = choice.own_seconds, choice.baseline_seconds
    against = f"{settings.against.sampler}, {settings.against.num_steps} steps of the large denoiser alone "
    against += f"in float32, guidance {settings.pair.guidance_scale:g}"
    lines = [
        "",
        shlex.join(["python", "-m", "scripts.sample", *overrides]),
        "",
        f"{best.title}: {1000 * seconds:.2f} ms for an image (predicted {1000 * best.seconds:.2f}), "
        f"{baseline_s / seconds:.2f} times as fast as {against}.",
        describe_difference(("the baseline", "it"), baseline, choice.difference, settings.within)
        + f" (FID {own:.2f} and {baseline:.2f} of {settings.final_images:,} images, seed {settings.final_seed})",
    ]
    lines += [
        f"{name}: {1000 * value:.2f} ms, {baseline_s / value:.2f} times as fast as the baseline"
        for name, value in choice.seconds.items()
        if name not in (BASELINE, CHOSEN)
    ]
    if choice.others:
        lines.append(f"These cannot be told apart from it with {sum(settings.rounds):,} images:")
        lines += [
            f"  {other.candidate.title}: FID {other.behind.value:+.2f}, {1000 * other.candidate.seconds:.2f} ms"
            for other in choice.others
        ]
    lines.append(f"{choice.images:,} images were sampled for it, of {choice.num_candidates} settings that fit.")
    return lines


def write_choice(choice: Choice, settings: ChooseSettings, overrides: Sequence[str], out: Path) -> Path:
    """Write the choice as JSON, with the overrides of `scripts.sample` that make images as chosen; returns its path.

    Its picture is beside it.
    """
    best = choice.best.candidate
    content = {
        "ms": settings.ms,
        "command": ["python", "-m", "scripts.sample", *overrides],
        "title": best.title,
        "allocation": list(best.plan.allocation),
        "predicted_seconds_per_image": best.seconds,
        "seconds_per_image": choice.seconds,
        "fid": choice.fid[0],
        "baseline_fid": choice.fid[1],
        "difference": choice.difference.as_dict(),
        "num_images": settings.final_images,
        "seed": settings.final_seed,
        "cannot_be_told_apart": [
            {"title": own.candidate.title, "seconds": own.candidate.seconds, "behind": own.behind.as_dict()}
            for own in choice.others
        ],
        "num_candidates": choice.num_candidates,
    }
    write_json(out / CHOICE, content)
    save(draw_choice(choice.seconds), out / PICTURE)
    return out / CHOICE


def _held_against_baseline(scored: list[Scored], num_candidates: int, sampler: Sampler) -> Choice:
    """Sample the best and the baseline on the final seed: FID, their difference, and the seconds of both."""
    settings, best = sampler.settings, scored[0].candidate
    scale = settings.pair.guidance_scale
    final = {"num_images": settings.final_images, "seed": settings.final_seed}
    pair = [baseline_settings(settings, scale).changed(**final), best.settings.changed(**final)]
    runs = sampler.run(pair)
    plans = [make_plan(own) for own in pair]
    evaluation = sampler.of(execution_of(plans[0])).evaluation
    pools = (evaluation.features(open_source(run.directory), sampler.ranks).pool for run in runs)
    fids = fid_spread(pools, evaluation.reference.pool)
    return Choice(
        scored[0], scored[1:], num_candidates, (float(fids.values[1]), float(fids.values[0])), fids.difference(0, 1),
        _measure({BASELINE: pair[0], **ablations(best, settings), CHOSEN: pair[1]}, sampler), sampler.images,
    )  # fmt: skip


def _measure(timed: dict[str, ChooseSettings], sampler: Sampler) -> dict[str, float]:
    """The seconds of an image with each of the settings, in turns."""
    latency = sampler.settings.latency
    plans = [make_plan(own.changed(batch_size=latency.batch_size)) for own in timed.values()]
    calls = [partial(sampler.of(execution_of(plan)).jobs.job(plan).sample, range(latency.batch_size)) for plan in plans]
    measured = measure_latency(calls, latency.repeats, sampler.device)
    return {name: each.median_s / latency.batch_size for name, each in zip(timed, measured, strict=True)}
