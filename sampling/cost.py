"""What a run would cost, before it starts: network calls, disk, time."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.autoencoder import decode
from models.checkout import resolve_path
from models.pair import DenoiserSpec, build_denoiser
from models.weights.catalog import list_missing
from sampling.batch import latent_shape
from sampling.networks import load_networks
from sampling.plan import Plan
from sampling.run import plan_run
from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.runs.run import check_run
from tstitch.sampling import sample
from tstitch.solvers.steps import trajectory_steps

Estimate = Callable[[Plan, Counter[int], int], str]


def describe_cost(plan: Plan, out: str | None, device: torch.device, estimate: Estimate) -> list[str]:
    """Lines on a plan: the allocation, calls of each denoiser, shards there, disk, time on one device."""
    lines = [plan.describe()]
    num_images = plan.num_images
    if not plan.missing_weights:
        run = plan_run(plan, out, device)
        check_run(run)
        there = [block for block in run.blocks if (run.shards / block.name).is_file()]
        num_images -= sum(map(len, there))
        lines.append(f"{run.directory}: {len(there)} of {len(run.blocks)} shards are there")
    calls = count_calls(plan)
    num_batches = -(-num_images // plan.batch_size)
    for index in plan.used:
        lines.append(
            f"{plan.names[index]}: {calls[index]} calls a batch, {calls[index] * num_batches:,} in all, "
            f"of {plan.batch_size * _evaluations(plan, index)} evaluations each"
        )
    lines.append(f"disk: {(num_images + plan.num_images) * plan.image_bytes / 1e6:,.1f} MB")
    lines.append(f"time: {estimate(plan, calls, num_images)}")
    return lines


def describe_costs(
    plans: Sequence[Plan], places: Sequence[str | None], device: torch.device, tflops: float | None
) -> list[str]:
    """Lines on each of several plans of one pair, whose runs lie in `places`, then the weights that are missing."""
    estimate = make_estimate(plans, device, tflops)
    lines = [
        f"[{number}/{len(plans)}] " + "\n    ".join(describe_cost(plan, place, device, estimate))
        for number, (plan, place) in enumerate(zip(plans, places, strict=True), start=1)
    ]
    return [*lines, *missing_weights(plans), *missing_evaluation(plans)]


def missing_weights(plans: Sequence[Plan]) -> list[str]:
    """Write a line on each component of plans of one pair that lacks files, then the command that fetches them all."""
    paths = list(dict.fromkeys(path for plan in plans for path in plan.missing_weights))
    return list_missing(paths, "missing", plans[0].pair)


def missing_evaluation(plans: Sequence[Plan]) -> list[str]:
    """Write the same on what scoring the plans' images needs: it is missed by the next command."""
    needed = [resolve_path(plan.evaluation[key]) for plan in plans for key in ("extractor_weights", "reference")]
    paths = [path for path in dict.fromkeys(needed) if not path.is_file()]
    return list_missing(paths, "missing for the scores", plans[0].pair)


def make_estimate(plans: Sequence[Plan], device: torch.device, tflops: float | None) -> Estimate:
    """What estimates the time of plans of one pair: from a rate in TFLOP/s, or from a short measurement."""
    if tflops is not None:
        if not isinstance(tflops, int | float) or not tflops > 0:
            raise UserError(f"tflops must be a rate above 0 in TFLOP/s, got {tflops!r}")
        return partial(_from_rate, tflops)
    if any(plan.missing_weights for plan in plans):
        return lambda *_: "needs the weights, or a rate to count with: tflops=100"
    return partial(_from_measurement, device.type, *_measure(plans, device))


def count_calls(plan: Plan) -> Counter[int]:
    """How often one batch calls each denoiser: the solver itself is run on a denoiser that counts."""
    calls: Counter[int] = Counter()

    def counting(index: int):
        def denoiser(latents: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> Prediction:
            calls[index] += 1
            return Prediction(torch.zeros_like(latents), torch.zeros_like(latents))

        return denoiser

    latents = torch.zeros(1, 1, 1, 1)
    steps = trajectory_steps(plan.schedule, plan.timesteps)
    denoisers = [counting(index) for index in range(len(plan.specs))]
    sample(denoisers, plan.allocation, plan.solver, steps, latents, latents, lambda _: latents, history=plan.history)
    return calls


@cache
def count_flops(spec: DenoiserSpec, attention: bool = True) -> int:
    """Floating-point operations (two for a multiply-accumulate) of one evaluation for one image. Needs no weights.

    Without `attention`, its two products of tokens with tokens are left out, as in the paper's tables.
    """
    with torch.device("meta"):
        denoiser, config = build_denoiser(spec), spec.config
        latents = torch.zeros(1, config.in_channels, config.input_size, config.input_size)
        timestep = torch.zeros(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            denoiser(latents, timestep, denoiser.conditional(timestep))
    by_operation = counter.get_flop_counts()["Global"]
    products = ("bmm", "scaled_dot_product")
    return sum(
        flops
        for operation, flops in by_operation.items()
        if attention or not any(p in str(operation) for p in products)
    )


def flops_per_image(plan: Plan) -> int:
    """Floating-point operations of the denoisers along a whole trajectory, guidance included."""
    return sum(flops_by_denoiser(plan).values())


def flops_by_denoiser(plan: Plan) -> dict[int, int]:
    """The same for each denoiser that the plan uses, by its index."""
    calls = count_calls(plan)
    return {index: calls[index] * _evaluations(plan, index) * count_flops(plan.specs[index]) for index in plan.used}


def _evaluations(plan: Plan, index: int) -> int:
    """Evaluations for an image in one call: guidance doubles them."""
    return 1 if plan.scales[index] == 1 else 2


def _from_rate(tflops: float, plan: Plan, calls: Counter[int], num_images: int) -> str:
    flops = flops_per_image(plan)
    seconds = num_images * flops / (tflops * 1e12)
    return f"{_duration(seconds)} at {tflops:g} TFLOP/s, for {flops / 1e9:,.1f} GFLOPs an image, without decoding"


def _from_measurement(
    device: str, call_s: dict[int, float], decode_s: float, plan: Plan, calls: Counter[int], num_images: int
) -> str:
    batch_s = decode_s + sum(calls[index] * call_s[index] for index in plan.used)
    return f"{_duration(batch_s * num_images / plan.batch_size)} on one {device} device, from a short measurement"


@torch.inference_mode()
def _measure(plans: Sequence[Plan], device: torch.device) -> tuple[dict[int, float], float]:
    """Seconds of one call of each denoiser that is used, and of decoding, for a batch."""
    plan, used = plans[0], sorted({index for plan in plans for index in plan.used})
    networks = load_networks(replace(plan, compile="none"), device, used)
    latents = torch.randn(plan.batch_size, *latent_shape(plan), device=device)
    call_s = {}
    for index in used:
        x = torch.cat([latents] * _evaluations(plan, index))
        timestep = torch.full((len(x),), plan.timesteps[0], device=device)
        with networks.use(index) as denoiser:
            condition = denoiser.conditional(torch.zeros_like(timestep))
            call_s[index] = _time(partial(denoiser, x, timestep, condition), device)
        del denoiser
    with networks.use_autoencoder() as autoencoder:
        return call_s, _time(partial(decode, autoencoder, latents), device)


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
