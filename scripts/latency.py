"""Latency and throughput of a pair at several fractions, and how near they are to the ideal line and to the machine.

python -m scripts.latency pair=digits_dit_s_xl fractions=0:1:0.1 out=latency.json
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.measures import LatencySettings


def main(settings: LatencySettings) -> None:
    from experiments.modes import plan_modes
    from tstitch.runs.outputs import check_output

    out = Path(settings.out or "latency.json")
    check_output(out, "a latency measurement")
    modes = plan_modes(settings)
    if settings.dry_run:
        for mode in modes:
            print(mode.name, *(plan.describe() for plan in mode.plans), sep="\n    ")
        return
    has_lists = settings.precisions is not None or settings.compiles is not None

    # A mistake in the settings should not wait for these.
    import torch

    from experiments.latency import describe_batch, measure_pair
    from tstitch.runs.json_files import write_json
    from tstitch.runs.ranks import choose_device, joined_ranks

    results = []
    with joined_ranks():
        device = choose_device(settings.device, local_rank=0)
        out.parent.mkdir(parents=True, exist_ok=True)
        for mode in modes:
            measured = measure_pair(
                mode.plans, mode.asked, mode.interleaved, settings.batch_sizes, settings.repeats, device
            )
            for result in measured:
                # A later batch size or mode may fail: what has been measured is kept.
                so_far = [*results, result]
                write_json(out, {"pair": result["pair"], "modes": so_far} if has_lists else result)
            results.append(result)
            if has_lists:
                print(mode.name)
            for batch in result["batches"]:
                print("\n".join(describe_batch(batch, result["matmul_tflops"])))
            gc.collect()  # the next mode has the memory of this one's networks, and compiles as many anew
            if mode.is_compiled:
                torch.compiler.reset()
    print(out)


if __name__ == "__main__":
    run_command("latency", main)
