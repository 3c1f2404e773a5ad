"""Latency and throughput of a pair at several fractions, and how near they are to the ideal line and to the machine.

python -m scripts.latency pair=digits_dit_s_xl fractions=0:1:0.1 out=latency.json
"""

import gc
from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command


def main(config: DictConfig) -> None:
    from experiments.modes import plan_modes
    from tstitch.runs.outputs import check_output

    settings = resolved(config)
    check_settings(settings)
    out = Path(settings["out"] or "latency.json")
    check_output(out, "a latency measurement")
    modes = plan_modes(settings)
    has_lists = settings["precisions"] is not None or settings["compiles"] is not None

    # A mistake in the settings should not wait for these.
    import torch

    from experiments.latency import describe_batch, measure_pair
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import write_json

    results = []
    with joined_ranks():
        device = choose_device(settings["device"], local_rank=0)
        out.parent.mkdir(parents=True, exist_ok=True)
        for mode in modes:
            result = measure_pair(
                mode.plans, mode.asked, mode.interleaved, settings["batch_sizes"], settings["repeats"], device
            )
            if has_lists:
                print(mode.name)
            for batch in result["batches"]:
                print("\n".join(describe_batch(batch, result["matmul_tflops"])))
            results.append(result)
            # A later mode may fail: what has been measured is kept.
            write_json(out, {"pair": result["pair"], "modes": results} if has_lists else result)
            gc.collect()  # the next mode has the memory of this one's networks, and compiles as many anew
            if mode.is_compiled:
                torch.compiler.reset()
    print(out)


def check_settings(settings: dict) -> None:
    """Check what is not checked with the plans.

    Raises:
        UserError: names the setting and what would be accepted.
    """
    from experiments.axes import AXES, refuse_explicit_allocation
    from sampling.plan import check_whole_number
    from tstitch.errors import UserError

    check_whole_number("repeats", settings["repeats"], lowest=1)
    batch_sizes = settings["batch_sizes"]
    if not isinstance(batch_sizes, list) or not batch_sizes:
        raise UserError(f"batch_sizes must be a list of whole numbers, got {batch_sizes!r}")
    for size in batch_sizes:
        check_whole_number("batch_sizes", size, lowest=1)
    refuse_explicit_allocation(settings, "a latency measurement")
    if settings["residency"] == "staged":
        raise UserError("residency=staged loads weights anew for each batch, which is not timed here; use both or swap")
    for key in (*AXES, "also"):  # an experiment brings them
        if key != "fractions" and settings.get(key) is not None:
            raise UserError(f"{key} is for scripts.sweep; a latency measurement goes through fractions alone")


if __name__ == "__main__":
    run_command("latency", main)
