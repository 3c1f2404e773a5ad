"""The networks of a plan, in its precisions, compiled and resident as it says."""

from collections.abc import Collection

import torch

from models.pair import Pair, load_pair
from models.placement.compiled import compile_pair
from models.placement.residency import Residency, StagedNetworks, SwappedPair
from sampling.plan import Plan


def load_networks(plan: Plan, device: torch.device, used: Collection[int] | None = None) -> Residency:
    """The denoisers that the plan uses, or those in `used`, and the autoencoder. Staged ones are only tried here.

    Raises:
        UserError: weights that cannot be used.
    """
    used = plan.used if used is None else used

    def load(indices: Collection[int], autoencoder: bool) -> Pair:
        return load_plan_pair(plan, device, indices, autoencoder)

    if plan.residency == "staged":
        for index in used:  # what is damaged should be said before anything is made
            load({index}, False)
        return StagedNetworks(load)
    if plan.residency == "swap" and device.type == "cuda":
        return SwappedPair(load, used, device)
    return load(used, True)


def load_plan_pair(plan: Plan, device: torch.device, used: Collection[int], autoencoder: bool = True) -> Pair:
    """Denoisers of the plan in memory together, whatever its residency, compiled as it says."""
    spec = plan.autoencoder if autoencoder else None
    pair = load_pair(plan.specs, used, spec, plan.precisions, device, plan.autoencoder_precision)
    compile_pair(pair, plan.compile, device)
    return pair
