"""The speed section of the README from what was measured: `python -m benchmarks.readme`."""

import json
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- begin: python -m benchmarks.readme -->", "<!-- end -->"


def main() -> None:
    README.write_text(with_section(README.read_text(), speed_section(RESULTS)))


def with_section(readme: str, section: str) -> str:
    """The README with another text between the two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{section}\n{rest[rest.index(END) :]}"


def speed_section(results: Path) -> str:
    """Tables of the results that are there, each with its machine and command."""
    parts = [make(json.loads(path.read_text())) for name, make in TABLES.items() if (path := results / name).is_file()]
    return "\n\n".join(parts)


def _latency(result: dict) -> str:
    batch, *larger = result["batches"]
    columns = ["fraction", "s", "p10 to p90", "images/s", "from the ideal line", "share of the matmul rate", "MB"]
    rows = [
        [
            f"{point['fractions'][0]:g}",
            f"{point['median_s']:.3f}",
            f"{point['p10_s']:.3f} to {point['p90_s']:.3f}",
            f"{point['images_per_s']:.1f}",
            f"{point['deviation_percent']:+.1f}%",
            f"{point['share_of_limit']:.0%}",
            f"{point['peak_memory_mb'].get('device', point['peak_memory_mb']['host']):,.0f}",
        ]
        for point in batch["points"]
    ]
    throughput = [
        f"{point['images_per_s']:.1f} at {point['fractions'][0]:g}" for other in larger for point in other["points"]
    ]
    at_once = ", ".join(str(other["batch_size"]) for other in larger)
    more = f"\n\nImages per second, {at_once} at once: {', '.join(throughput)}." if larger else ""
    return (
        f"`python -m scripts.latency pair={result['pair']}` as `make bench` runs it, {batch['batch_size']} images at "
        f"once, {result['num_steps']} steps, {result['precision']}, {_machine(result)}, "
        f"median of {result['repeats']} in shuffled rounds; a switch costs {batch['switch_ms']:.2f} ms; "
        f"memory at its peak:\n\n{_table(columns, rows)}{more}"
    )


def _sampler(result: dict) -> str:
    faster_by = "times our float32"
    measured = ["s", faster_by, "by round", "the denoiser's s", faster_by, "share of the matmul rate"]
    rows, rates = [], []
    for network, own in result["networks"].items():
        candidates = own["candidates"]
        gflops = {name: f"{1000 * rate:,.0f}" for name, rate in own["matmul_tflops"].items()}
        rates.append(f"{gflops['float32']} in float32 and {gflops['bf16']} in bf16 beside {network}")
        for name, found in candidates.items():
            denoiser_s = found["denoiser_s"]
            plain = candidates["ours, float32"]
            faster = plain["denoiser_s"] / denoiser_s
            rounds = [ours / own_s for ours, own_s in zip(plain["all_seconds"], found["all_seconds"], strict=True)]
            cells = [f"{found['seconds']:.2f}", f"{found['times_our_float32']:.2f}x"]
            cells.append(f"{min(rounds):.2f} to {max(rounds):.2f}")
            cells += [f"{denoiser_s:.2f}", f"{faster:.2f}x", f"{found['share_of_matmul_rate']:.0%}"]
            rows.append([f"{network}, {own['num_steps']} steps", name, *cells])
    everything = [found for own in result["networks"].values() for found in own["candidates"].values()]
    outside = max(found.get("outside_networks", 0.0) for found in everything)
    return (
        f"`make bench`: a guided batch of {result['batch_size']} at 256 pixels, decoding included, {_machine(result)}, "
        f"median of {result['repeats']} in turns. Our loop and diffusers' have the very same weights. At most "
        f"{outside:.1%} of our time is outside the networks. Matrix products run at {'; '.join(rates)} (GFLOP/s):\n\n"
        f"{_table(['network', 'candidate', *measured], rows)}"
    )


def _modes(result: dict) -> str:
    columns = ["mode", "times plain float32", "FID", "mean absolute difference of pixels (of 255)"]
    rows = [
        [name, f"{found['speed_up']:.2f}x", f"{found['fid']:.3f}", f"{found['pixel_difference']:.3f}"]
        for name, found in result["modes"].items()
    ]
    return (
        f"`python -m benchmarks.modes`: the modes on {result['pair']} at fraction {result['fraction']:g}, "
        f"{result['num_images']:,} images, {result['num_steps']} steps, batches of {result['batch_size']}, "
        f"{_machine(result)}, once each, beside plain float32:\n\n{_table(columns, rows)}"
    )


def _ranks(result: dict) -> str:
    times = ", ".join(f"{found['seconds']:.1f} s with {ranks}" for ranks, found in result["ranks"].items())
    ranks = "rank" if list(result["ranks"]) == ["1"] else "ranks"
    return (
        f"`python -m benchmarks.ranks`: {result['num_images']:,} images of {result['pair']} under torchrun, "
        f"{_machine(result)}: {times} {ranks} (sampling alone, without the start)."
    )


def _sweep(result: dict) -> str:
    before, now = (", ".join(f"{seconds:.0f}" for seconds in result["all_seconds"][side]) for side in ("before", "now"))
    return (
        f"`python -m benchmarks.sweep`: `make sweep PAIR={result['pair']}` from the command to its pictures, eleven "
        f"fractions of {result['num_images']:,} images at {result['num_steps']} steps, {_machine(result)}: {now} s; "
        f"with the code of {result['against']}, before the work on speed, in turns {before} s "
        f"({result['speed_up']:.2f}x, {min(result['speed_ups']):.2f}x to {max(result['speed_ups']):.2f}x by round)."
    )


def _evaluation(result: dict) -> str:
    sides = [
        f"{name} takes {found['seconds']:.0f} s and {found['peak_memory_mb']:,} MB"
        for name, found in (("ours", result["ours"][0]), ("torch-fidelity", result["theirs"][0]))
    ]
    return (
        f"`make bench-eval`: FID, Inception Score and KID of {result['num_images']:,} images of {result['side']} "
        f"pixels with Inception on {result['device']}: {', '.join(sides)}."
    )


def _memory(result: dict) -> str:
    return (
        f"`python -m benchmarks.evaluation_memory`: scoring {result['num_images']:,} images with Inception on a CPU "
        f"(six metrics, {result['num_reference']:,} reference images) takes "
        f"{max(result['peak_memory_mb'].values()):,} MB at its peak."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def _machine(result: dict) -> str:
    return result["machine"]["device"]


TABLES = {
    "latency_digits.json": _latency,
    "sampler.json": _sampler,
    "modes.json": _modes,
    "ranks.json": _ranks,
    "sweep.json": _sweep,
    "evaluation.json": _evaluation,
    "evaluation_memory.json": _memory,
}


if __name__ == "__main__":
    main()
