"""The cost of denoisers before they run: parameters, operations, storage."""

from collections.abc import Sequence

import torch

from evaluation.report.tables import ModelRow
from models.pair import build_denoiser
from sampling.cost import count_flops, flops_per_image
from sampling.plan import Plan


def model_rows(plan: Plan) -> list[ModelRow]:
    """Every denoiser of a pair alone."""
    num = len(plan.specs)
    return [model_row(plan, (index,), [float(k == index) for k in range(num)]) for index in range(num)]


def model_row(plan: Plan, used: Sequence[int], fractions: list[float], memory_mb: float | None = None) -> ModelRow:
    """Some denoisers of a pair together: their sums. Needs no weights, but for the storage."""
    with torch.device("meta"):
        networks = [build_denoiser(plan.specs[index]).network for index in used]
    parameters = sum(values.numel() for network in networks for values in network.state_dict().values())
    files = [plan.specs[index].weights for index in used]
    storage = sum(path.stat().st_size for path in files) / 1e6 if all(path.is_file() for path in files) else None
    return ModelRow(
        name=" + ".join(plan.names[index] for index in used),
        fractions=fractions,
        parameters_m=parameters / 1e6,
        gmacs=sum(count_flops(plan.specs[index], attention=False) for index in used) / 2e9,
        storage_mb=storage,
        memory_mb=memory_mb,
    )


def describe_total_cost(plans: Sequence[Plan]) -> str:
    """Describe what all points cost in operations of the denoisers, and how long that takes at a rate."""
    total = sum(plan.num_images * flops_per_image(plan) for plan in plans)
    points = f"{len(plans)} point{'s' if len(plans) > 1 else ''}"
    return (
        f"Cost: {points} of {plans[0].num_images:,} images, {total / 1e15:,.3g} PFLOPs in the denoisers: "
        f"{total / 1e14 / 3600:,.3g} hours at 100 TFLOP/s."
    )
