"""The share of each part of a choice in its speed: the same setting with one part as the baseline has it."""

from __future__ import annotations

from experiments.choose.candidates import Candidate
from experiments.choose.costs import Execution
from experiments.choose.rounds import alone, baseline_settings
from settings.choose import ChooseSettings

PLAIN = Execution("float32", "none")


def ablations(best: Candidate, settings: ChooseSettings) -> dict[str, ChooseSettings]:
    """The settings that lack one part of the choice each, by a name; parts that are the baseline's are left out.

    Without its solver and steps, a choice keeps the shares of its denoisers, from small to large.
    """
    scale, shares = best.plan.scales[-1], {"fractions": best.plan.fractions, "denoiser_per_step": None}
    baseline = baseline_settings(settings, scale)
    without = {}
    if set(best.plan.allocation) != {len(best.plan.specs) - 1}:
        without["without stitching"] = best.settings.changed(stitch=alone(settings))
    if best.settings.sampler != baseline.sampler:
        without["without its solver and steps"] = best.settings.changed(sampler=baseline.sampler, stitch=shares)
    if (scale == 1) != (settings.pair.guidance_scale == 1):
        without["without its guidance scale"] = best.settings.changed(guidance={"scale": settings.pair.guidance_scale})
    if best.execution != PLAIN:
        without[f"without {best.execution}"] = best.settings.changed(
            precision=baseline.precision, compile=baseline.compile
        )
    return without
