"""The cost of a run, before it starts: network calls, disk, time."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from models.autoencoder import decode
from models.checkout import resolve_path
from models.families import find_family
from models.weights.catalog import list_missing
from sampling.batch import sample_latents
from sampling.flops import count_flops
from sampling.job import RunPlan
from sampling.networks import load_networks
from sampling.plan import Plan
from sampling.run import place_run
from tstitch.denoiser import Prediction, Region
from tstitch.guidance import ConditionedDenoiser
from tstitch.noise import ImageNoise
from tstitch.router import Ledger
from tstitch.runs.run import check_run
from tstitch.sample import sample
from tstitch.solvers.steps import trajectory_steps

Estimate = Callable[[Plan, Ledger, int], str]
MEASURED_ON_CPU = 8  # images of the short measurement
TRIED_ON = 16  # images whose decisions are tried before a run


def describe_cost(plan: RunPlan, out: str | None, device: torch.device, estimate: Estimate | None) -> list[str]:
    """Lines on a plan: the allocation, calls of each denoiser, shards there, disk, time on one device.

    Args:
        out: the run's directory; None for a readable one.
        estimate: what `make_estimate` made for it.
    """
    lines, num_images = [plan.describe()], plan.num_images
    if not plan.missing_weights:
        line, num_images = describe_shards(plan, out, device)
        lines.append(line)
    if estimate is None:
        return [*lines, f"{num_images} images to make", describe_disk(plan, num_images)]
    if plan.allocation is None and plan.missing_weights:
        return [*lines, describe_disk(plan, num_images), "time: images decide, which needs the weights to be tried"]
    ledger = count_evaluations(plan) if plan.allocation is not None else try_evaluations(plan, device)
    lines += describe_calls(plan, ledger, num_images)
    lines.append(describe_disk(plan, num_images))
    lines.append(f"time: {estimate(plan, ledger, num_images)}")
    return lines


def describe_calls(plan: Plan, ledger: Ledger, num_images: int) -> list[str]:
    """Lines on the calls of each denoiser: in a batch where all images go the same way, else those of an image."""
    if plan.allocation is None:
        return [
            f"{plan.names[index]}: {calls:.3g} calls for an image of a trajectory of {len(plan.timesteps)} steps, "
            f"tried on {TRIED_ON} images"
            for index, calls in sorted(ledger.calls.items())
        ]
    num_batches = -(-num_images // plan.batch_size)
    return [
        f"{plan.names[index]}: {calls} calls a batch, {calls * num_batches:,} in all, "
        f"of {plan.batch_size * ledger.evaluations[index] // calls} evaluations each"
        for index, calls in sorted(ledger.calls.items())
    ]


def describe_shards(plan: RunPlan, out: str | None, device: torch.device) -> tuple[str, int]:
    """A line on what of a run is there, and the number of images that are missing.

    Raises:
        UserError: the directory cannot be used for this run.
    """
    run = place_run(out, plan.directory_name(), plan.identity(device.type))
    check_run(run)
    present = [block for block in run.blocks if (run.shards / block.name).is_file()]
    line = f"{run.directory}: {len(present)} of {len(run.blocks)} shards are there"
    return line, plan.num_images - sum(map(len, present))


def describe_disk(plan: RunPlan, num_missing: int) -> str:
    """A line on the disk that the missing shards and the merged file need."""
    return f"disk: {(num_missing + plan.num_images) * plan.image_bytes / 1e6:,.1f} MB"


def describe_costs(
    plans: Sequence[RunPlan], places: Sequence[str | None], device: torch.device, tflops: float | None
) -> list[str]:
    """Lines on each of several plans of one pair, whose runs lie in `places`, then the weights that are missing."""
    estimate = make_estimate(plans, device, tflops)
    lines = [
        f"[{number}/{len(plans)}] " + "\n    ".join(describe_cost(plan, place, device, estimate))
        for number, (plan, place) in enumerate(zip(plans, places, strict=True), start=1)
    ]
    return [*lines, *missing_weights(plans), *missing_evaluation(plans)]


def missing_weights(plans: Sequence[RunPlan]) -> list[str]:
    """Write a line on each component of plans of one pair that lacks files, then the command that fetches them all."""
    paths = list(dict.fromkeys(path for plan in plans for path in plan.missing_weights))
    return list_missing(paths, "missing", getattr(plans[0], "pair", None))


def missing_evaluation(plans: Sequence[RunPlan]) -> list[str]:
    """Write the same on what scoring the plans' images needs: it is missed by the next command."""
    scored = [plan.evaluation for plan in plans if plan.evaluation["metrics"]]
    needed = [resolve_path(settings[key]) for settings in scored for key in ("extractor_weights", "reference")]
    needed += [resolve_path(settings["clip"]) for settings in scored if "clip_score" in settings["metrics"]]
    paths = [path for path in dict.fromkeys(needed) if not path.exists()]
    return list_missing(paths, "missing for the scores", getattr(plans[0], "pair", None))


def make_estimate(plans: Sequence[RunPlan], device: torch.device, tflops: float | None) -> Estimate | None:
    """Make what estimates the time of plans of one pair: from a rate in TFLOP/s, or from a short measurement.

    None for plans of prompts, whose pipeline calls its denoisers as it likes.
    """
    if not isinstance(plans[0], Plan):
        return None
    if tflops is not None:
        return partial(_from_rate, tflops)
    if any(plan.missing_weights for plan in plans):
        return lambda *_: "needs the weights, or a rate to count with: tflops=100"
    return partial(_from_measurement, device.type, *_measure(plans, device))


class _BlankNetworks:
    """Models without a network, that predict zeros: what is counted is who is asked, and how often."""

    def __init__(self, plan: Plan):
        blanks = [_Blank(find_family(spec.family).predicts_regions) for spec in plan.specs]
        self.conditioned = [
            ConditionedDenoiser(blank, torch.zeros(2, 1), scale)
            for blank, scale in zip(blanks, plan.scales, strict=True)
        ]

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ConditionedDenoiser]]:
        return nullcontext({model: self.conditioned[model] for model in models})


@dataclass(frozen=True)
class _Blank:
    predicts_regions: bool

    def __call__(
        self, latents: Tensor, timestep: Tensor, condition: Tensor, region: Region | None = None
    ) -> Prediction:
        return Prediction(torch.zeros_like(latents), torch.zeros_like(latents))


def count_evaluations(plan: Plan) -> Ledger:
    """Count the calls of each denoiser, and its evaluations for one image: the sampling loop runs without networks.

    For routers with which no image decides for itself.
    """
    ledger, steps = Ledger(), trajectory_steps(plan.schedule, plan.timesteps)
    latents, noise = torch.zeros(1, *plan.latent_shape), ImageNoise(plan.seed, [0])
    sample(plan.router, _BlankNetworks(plan), plan.solver, steps, latents, noise, plan.history, ledger=ledger)
    return ledger


@torch.inference_mode()
def try_evaluations(plan: Plan, device: torch.device) -> Ledger:
    """Count the calls and the evaluations of an image, by sampling the latents of a few: what images decide shows."""
    networks = load_networks(plan, device)
    ledger, noise = Ledger(), ImageNoise(plan.seed, range(TRIED_ON))
    sample_latents(plan, plan.router, networks, noise, device, ledger=ledger)
    evaluations = {model: count / TRIED_ON for model, count in ledger.evaluations.items()}
    per_call = [1 if scale == 1 else 2 for scale in plan.scales]
    return Ledger({model: count / per_call[model] for model, count in evaluations.items()}, evaluations)


def flops_per_image(plan: Plan) -> int:
    """Floating-point operations of the denoisers along a whole trajectory, guidance included."""
    return sum(flops_by_denoiser(plan).values())


def flops_by_denoiser(plan: Plan) -> dict[int, int]:
    """The same for each denoiser that the plan uses, by its index."""
    evaluations = count_evaluations(plan).evaluations
    return {index: count * count_flops(plan.specs[index]) for index, count in sorted(evaluations.items())}


def _from_rate(tflops: float, plan: Plan, ledger: Ledger, num_images: int) -> str:
    flops = sum(count * count_flops(plan.specs[index]) for index, count in ledger.evaluations.items())
    seconds = num_images * flops / (tflops * 1e12)
    return f"{_duration(seconds)} at {tflops:g} TFLOP/s, for {flops / 1e9:,.1f} GFLOPs an image, without decoding"


def _from_measurement(
    device: str, call_s: dict[int, float], decode_s: float, plan: Plan, ledger: Ledger, num_images: int
) -> str:
    batch_s = decode_s + sum(calls * call_s[index] for index, calls in ledger.calls.items())
    return f"{_duration(batch_s * num_images / plan.batch_size)} on one {device} device, from a short measurement"


@torch.inference_mode()
def _measure(plans: Sequence[Plan], device: torch.device) -> tuple[dict[int, float], float]:
    """Seconds of one call of each denoiser that is used, and of decoding, for a batch.

    A CPU takes as much longer for a batch as it has more images, so there a part of it is enough.
    """
    plan, used = plans[0], sorted({index for plan in plans for index in plan.used})
    networks = load_networks(replace(plan, compile="none"), device, used)
    num_images = plan.batch_size if device.type == "cuda" else min(plan.batch_size, MEASURED_ON_CPU)
    whole = plan.batch_size / num_images
    latents = torch.randn(num_images, *plan.latent_shape, device=device)
    call_s = {}
    for index in used:
        x = latents if plan.scales[index] == 1 else torch.cat([latents, latents])
        timestep = torch.full((len(x),), plan.timesteps[0], device=device)
        with networks.use((index,)) as denoisers:
            condition = denoisers[index].conditional(torch.zeros_like(timestep))
            call_s[index] = whole * _time(partial(denoisers[index], x, timestep, condition), device)
        del denoisers
    with networks.use_autoencoder() as autoencoder:
        return call_s, whole * _time(partial(decode, autoencoder, latents), device)


def _time(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: the shorter of two after a warm-up."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
