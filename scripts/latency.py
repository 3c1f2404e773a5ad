"""Latency and throughput of a pair at several fractions, and how near they are to the ideal line and to the machine.

python -m scripts.latency pair=digits_dit_s_xl fractions=0:1:0.1 out=latency.json
"""

from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command


def main(config: DictConfig) -> None:
    from experiments.axes import AXES, parse_fractions, refuse_explicit_allocation
    from sampling.plan import Plan, check_whole_number, make_plan
    from tstitch.errors import UserError
    from tstitch.runs.outputs import check_output

    settings = resolved(config)
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
    out = Path(settings["out"] or "latency.json")
    check_output(out, "a latency measurement")
    num = len(settings["pair"]["denoisers"])
    requested = parse_fractions(settings["fractions"], num)
    alone = [[float(k == index) for k in range(num)] for index in range(num)]
    plans: dict[tuple[int, ...], Plan] = {}
    asked: dict[tuple[int, ...], list[list[float]]] = {}
    for fractions in [*requested, *alone]:  # the ideal line goes through the denoisers alone
        plan = make_plan({**settings, "stitch": {**settings["stitch"], "fractions": fractions}})
        plans.setdefault(plan.allocation, plan)
        same = asked.setdefault(plan.allocation, [])
        if fractions not in same:
            same.append(fractions)
    interleaved = make_plan(
        {
            **settings,
            "stitch": {**settings["stitch"], "fractions": [1 / num] * num},
            "allocation": {**settings["allocation"], "order": "interleave"},
        }
    )

    # A mistake in the settings should not wait for these.
    from experiments.latency import describe_batch, measure_pair
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import write_json

    with joined_ranks():
        device = choose_device(settings["device"], local_rank=0)
        result = measure_pair(
            list(plans.values()), list(asked.values()), interleaved, batch_sizes, settings["repeats"], device
        )
    for batch in result["batches"]:
        print("\n".join(describe_batch(batch, result["matmul_tflops"])))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, result)
    print(out)


if __name__ == "__main__":
    run_command("latency", main)
