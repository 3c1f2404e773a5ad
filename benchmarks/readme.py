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
    batch = result["batches"][0]
    columns = ["fraction", "s", "p10 to p90", "images/s", "from the ideal line", "share of the matmul rate"]
    rows = [
        [
            f"{point['fractions'][0]:g}",
            f"{point['median_s']:.3f}",
            f"{point['p10_s']:.3f} to {point['p90_s']:.3f}",
            f"{point['images_per_s']:.1f}",
            f"{point['deviation_percent']:+.1f}%",
            f"{point['share_of_limit']:.0%}",
        ]
        for point in batch["points"]
    ]
    return (
        f"`make latency PAIR={result['pair']}`, {batch['batch_size']} images at once, {result['num_steps']} steps, "
        f"{result['precision']}, {_machine(result)}, median of {result['repeats']} in shuffled rounds; a switch costs "
        f"{batch['switch_ms']:.2f} ms:\n\n{_table(columns, rows)}"
    )


def _sampler(result: dict) -> str:
    measured = ["s", "the denoiser's", "times our float32", "the denoiser's", "share of the matmul rate"]
    rows = []
    for network, candidates in result["networks"].items():
        for name, found in candidates.items():
            denoiser = found["denoiser_s"]
            faster = candidates["ours, float32"]["denoiser_s"] / denoiser
            seconds = [f"{found['seconds']:.2f}", f"{denoiser:.2f}"]
            ratios = [f"{found['times_our_float32']:.2f}x", f"{faster:.2f}x", f"{found['share_of_matmul_rate']:.0%}"]
            rows.append([network, name, *seconds, *ratios])
    return (
        f"`make bench`: a guided batch of {result['batch_size']} at 256 pixels, {result['num_steps']} steps, decoding "
        f"included, {_machine(result)}, median of {result['repeats']} in turns. Our loop and diffusers' have the very "
        f"same weights. Matrix products run at {1000 * result['matmul_tflops']['float32']:,.0f} GFLOP/s in float32 and "
        f"{1000 * result['matmul_tflops']['bf16']:,.0f} in bf16:\n\n{_table(['network', 'candidate', *measured], rows)}"
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
        f"{_machine(result)}, each beside plain float32:\n\n{_table(columns, rows)}"
    )


def _ranks(result: dict) -> str:
    times = ", ".join(f"{found['seconds']:.1f} s with {ranks}" for ranks, found in result["ranks"].items())
    return (
        f"`python -m benchmarks.ranks`: {result['num_images']:,} images of {result['pair']} under torchrun, "
        f"{_machine(result)}: {times} ranks (sampling alone, without the start)."
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
    "evaluation.json": _evaluation,
    "evaluation_memory.json": _memory,
}


if __name__ == "__main__":
    main()
