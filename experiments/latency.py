"""A session of latency measurements: warm, shuffled, split by stage, against the ideal line and the machine's limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median

import torch

from evaluation.speed.latency import Latency, measure_latency
from evaluation.speed.limits import matmul_tflops
from evaluation.speed.line import deviation_percent, ideal_seconds
from experiments.model_facts import model_row
from models.placement.precision import DTYPES, products
from models.placement.residency import Residency
from sampling.batch import sample_images
from sampling.cost import count_evaluations, count_flops, flops_by_denoiser
from sampling.networks import load_networks
from sampling.plan import Plan
from tstitch.allocation import show_fractions
from tstitch.runs.machine import describe_machine
from tstitch.runs.timing import peak_memory_mb, restart_peak_memory


@dataclass(frozen=True)
class Memory:
    """The networks of a session and what their weights take, in MB."""

    networks: Residency
    weights_mb: list[float]
    autoencoder_mb: float
    is_swapped: bool

    def measure(self, plan: Plan, call: Callable[[], object], device: torch.device) -> dict:
        """Weights that a point keeps on the device, and its peaks while it runs.

        Where all denoisers are in memory while they are timed, the weights of those that the point does not use are
        taken off the peak of the device it runs on. Where they are swapped, only the one in use is on the device.
        """
        used = [self.weights_mb[index] for index in plan.used]
        if self.is_swapped:
            call()  # one of its own denoisers is on the device from here on
        restart_peak_memory(device)
        call()
        peaks = peak_memory_mb(device)
        if not self.is_swapped:
            peaks["device" if device.type == "cuda" else "host"] -= sum(self.weights_mb) - sum(used)
        resident = max(used) if self.is_swapped else sum(used)
        return {"resident_mb": resident + self.autoencoder_mb, "peak_memory_mb": peaks}


def measure_pair(
    plans: Sequence[Plan],
    asked: Sequence[Sequence[Sequence[float]]],
    interleaved: Plan,
    batch_sizes: Sequence[int],
    repeats: int,
    device: torch.device,
) -> Iterator[dict]:
    """Measure the content of `latency.json`: all that there is after each batch size.

    Args:
        plans: of different allocations, every denoiser alone among them.
        asked: for each plan the fractions that led to it; they are rounded to whole steps.
        interleaved: the denoisers in turn, for the cost of a switch.
        batch_sizes: images at once.
    """
    plan = plans[0]
    used = range(len(plan.specs))
    networks = load_networks(plan, device, used)
    weights_mb = []
    for index in used:
        with networks.use((index,)) as denoisers:
            weights_mb.append(_weights_mb(denoisers[index].network))
    with networks.use_autoencoder() as autoencoder:
        autoencoder_mb = _weights_mb(autoencoder)
    memory = Memory(networks, weights_mb, autoencoder_mb, plan.residency == "swap" and device.type == "cuda")
    by_precision = {name: precision_tflops(name, device) for name in dict.fromkeys(plan.precisions)}
    rates = [by_precision[name] for name in plan.precisions]
    rows = [model_row(plan, [index], []) for index in used]
    content = {
        "pair": plan.pair,
        "machine": describe_machine(device),
        "precision": plan.precision,
        "autoencoder_precision": plan.autoencoder_precision,
        "compile": plan.compile,
        "residency": plan.residency,
        "sampler": plan.sampler,
        "num_steps": len(plan.timesteps),
        "guidance_scale": plan.scales,
        "repeats": repeats,
        "matmul_tflops": rates[-1],
        "denoisers": [
            {
                "name": row.name,
                "parameters_m": row.parameters_m,
                "gmacs": row.gmacs,
                "gflops_with_attention": count_flops(plan.specs[index]) / 1e9,
                "storage_mb": row.storage_mb,
                "weights_mb": weights_mb[index],
                "matmul_tflops": rates[index],
            }
            for index, row in enumerate(rows)
        ],
        "autoencoder_weights_mb": autoencoder_mb,
    }
    batches: list[dict] = []
    for size in batch_sizes:
        batches.append(_measure_batch(plans, asked, interleaved, memory, size, repeats, rates, device))
        yield {**content, "batches": list(batches)}


def precision_tflops(precision: str, device: torch.device) -> float:
    """Measure the device's rate in matrix products of one of `DTYPES`, as a network in it multiplies."""
    return matmul_tflops(DTYPES[precision], device, products(precision, device))


def describe_batch(batch: dict, rate: float) -> list[str]:
    """Lines for the terminal."""
    lines = [
        f"{batch['batch_size']} images at once ({rate * 1000:,.0f} GFLOP/s in matrix products, "
        f"{batch['switch_ms']:+.2f} ms for a switch)"
    ]
    for point in batch["points"]:
        stages = "  ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in point["stages_s"].items())
        fractions = show_fractions(point["fractions"])
        others = [text for text in map(show_fractions, point["asked"]) if text != fractions]
        fractions += f" (asked {', '.join(others)})" if others else ""
        lines.append(
            f"  {fractions:>12}: {point['median_s']:.3f} s (p10 {point['p10_s']:.3f}, p90 {point['p90_s']:.3f}), "
            f"{point['images_per_s']:.2f} images/s, {point['deviation_percent']:+.1f}% from the line, "
            f"{point['share_of_limit']:.0%} of the limit; ms: {stages}"
        )
    return lines


def _measure_batch(
    plans: Sequence[Plan],
    asked: Sequence[Sequence[Sequence[float]]],
    interleaved: Plan,
    memory: Memory,
    batch_size: int,
    repeats: int,
    rates: Sequence[float],
    device: torch.device,
) -> dict:
    images = range(batch_size)
    calls = [partial(sample_images, plan, memory.networks, images, device) for plan in (*plans, interleaved)]
    *latencies, turns = measure_latency(calls, repeats, device)
    alone_s = [latencies[_alone(plans, index)].totals_s for index in range(len(plans[0].specs))]
    points = [
        {**_point(plan, own, latency, alone_s, batch_size, rates), **memory.measure(plan, call, device)}
        for plan, own, latency, call in zip(plans, asked, latencies, calls, strict=False)
    ]
    switches = sum(a != b for a, b in pairwise(interleaved.allocation))
    ideal = ideal_seconds(interleaved.fractions, alone_s)
    overhead = median(own - of_line for own, of_line in zip(turns.totals_s, ideal, strict=True))
    fixed = median(_fixed_s(latency, plans[0].names) for latency in latencies)
    return {
        "batch_size": batch_size,
        "line": {"denoisers_s": [median(own) - fixed for own in alone_s], "fixed_s": fixed},
        "switch_ms": 1000 * overhead / max(1, switches),
        "points": points,
    }


def _alone(plans: Sequence[Plan], index: int) -> int:
    """Find the plan in which a denoiser takes all steps."""
    return next(position for position, plan in enumerate(plans) if plan.used == [index])


def _fixed_s(latency: Latency, denoisers: Sequence[str]) -> float:
    """Seconds outside the denoisers."""
    return sum(seconds for stage, seconds in latency.stages_s.items() if stage not in denoisers)


def _point(
    plan: Plan,
    asked: Sequence[Sequence[float]],
    latency: Latency,
    alone_s: Sequence[Sequence[float]],
    batch_size: int,
    rates: Sequence[float],
) -> dict:
    calls, flops = count_evaluations(plan).calls, flops_by_denoiser(plan)
    at_the_limit_s = batch_size * sum(flops[index] / (rates[index] * 1e12) for index in plan.used)
    network_s = sum(latency.stages_s.get(plan.names[index], 0.0) for index in plan.used)
    return {
        "fractions": plan.fractions,
        "asked": [list(fractions) for fractions in asked],
        "steps": [plan.allocation.count(index) for index in range(len(plan.specs))],
        "network_calls": [calls.get(index, 0) for index in range(len(plan.specs))],
        "gflops_per_image": sum(flops.values()) / 1e9,
        "median_s": latency.median_s,
        "all_seconds": latency.totals_s,
        "p10_s": latency.p10_s,
        "p90_s": latency.p90_s,
        "images_per_s": batch_size / latency.median_s,
        "stages_s": latency.stages_s,
        "deviation_percent": deviation_percent(latency.totals_s, ideal_seconds(plan.fractions, alone_s)),
        "share_of_limit": at_the_limit_s / network_s,
    }


def _weights_mb(network: torch.nn.Module) -> float:
    return sum(values.nbytes for values in network.state_dict().values()) / 1e6
