"""The points of a sweep: every combination of what is swept, checked before any of them runs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from settings.fractions import read_range
from settings.sweep import SweepSettings
from settings.sweep_prompts import PromptSweepSettings
from tstitch.errors import UserError

if TYPE_CHECKING:
    from sampling.job import RunPlan

AXES = ("fractions", "guidance_scales", "samplers", "num_steps", "orders", "rules", "routers", "matches")


@dataclass(frozen=True)
class PlannedPoint:
    """A point before it runs: the complete settings of its run, their plan, and what asked for it.

    `asked` holds the settings of each place in the grids that led to this run, under the names of
    `evaluation.report.sweep.Asked`. There are several where they round to the same steps, or differ in what the run
    does not use.
    """

    settings: SweepSettings | PromptSweepSettings
    plan: RunPlan
    asked: tuple[dict, ...]

    @property
    def place(self) -> dict:
        """The point's place among the others, under the names of `evaluation.report.sweep.Point`.

        There are no fractions where images decide.
        """
        first = self.asked[0]
        return {
            "fractions": self.plan.fractions or [],
            "guidance_scale": first["guidance_scale"],
            "sampler": self.plan.sampler_name,
            "num_steps": len(self.plan.timesteps),
            "order": first["order"],
            "rule": first["rule"],
            "router": first["router"],
            "knob": first["knob"],
            "asked": list(self.asked),
        }


def plan_points(settings: SweepSettings | PromptSweepSettings) -> list[PlannedPoint]:
    """The points of the grid over `AXES` and of the grids under `also`, in the order of the axes.

    Settings that resolve to the same steps of the same denoisers are one point.

    Raises:
        UserError: a value that a run refuses.
    """
    given = settings.as_dict()
    axes = {axis: given[axis] for axis in AXES if axis in given}
    planned: dict[str, PlannedPoint] = {}
    for grid in [{}, *(also.as_dict() for also in settings.also or [])]:
        for point in _grid_points({**axes, **grid}, settings):
            key = json.dumps(point.plan.resolved_settings, sort_keys=True)
            known = planned.get(key, point)
            asked = (*known.asked, *(place for place in point.asked if place not in known.asked))
            planned[key] = replace(known, asked=asked)
    return list(planned.values())


def _grid_points(axes: dict, settings: SweepSettings | PromptSweepSettings) -> list[PlannedPoint]:
    """The points of one grid."""
    from experiments.places import class_place, prompt_place
    from sampling.jobs import plan_run

    has_prompts = isinstance(settings, PromptSweepSettings)
    num_denoisers = 1 + len(settings.small) if has_prompts else len(settings.pair.denoisers)
    values = {axis: axes[axis] or [None] for axis in axes if axis != "fractions"}  # None: as a run has it without
    values["fractions"] = parse_fractions(axes["fractions"], num_denoisers)
    points = []
    for chosen in itertools.product(*values.values()):
        named = dict(zip(values, chosen, strict=True))
        place = (prompt_place if has_prompts else class_place)(settings, named)
        if not place.takes_shares and named["fractions"] != values["fractions"][0]:
            continue  # the fractions decide nothing
        plan = plan_run(place.settings)
        asked = place.asked if place.takes_shares else {**place.asked, "fractions": []}
        points.append(PlannedPoint(place.settings, plan, (asked,)))
    return points


def parse_fractions(fractions: list | str, num_denoisers: int) -> list[list[float]]:
    """Lists of fractions, one value per denoiser.

    Args:
        fractions: a list of numbers (of the small one of two denoisers) or of lists; or `START:STOP:STEP`, which for
            more than two denoisers must be `0:1:STEP` and gives every combination on that grid (66 for three at 0.1).
    """
    if isinstance(fractions, str):
        return _fraction_range(fractions, num_denoisers)
    return [each if isinstance(each, list) else [each, round(1 - each, 9)] for each in fractions]


def _fraction_range(text: str, num_denoisers: int) -> list[list[float]]:
    bounds = read_range(text)
    start, stop, step = bounds or (0, 0, 1)
    num = round((stop - start) / step)
    if bounds is None or abs(start + num * step - stop) > 1e-9:
        raise UserError(
            f"fractions START:STOP:STEP must lie in [0, 1] with STOP a whole number of steps on, got {text}"
        )
    if num_denoisers == 2:
        return [[value, round(1 - value, 9)] for value in (round(start + k * step, 9) for k in range(num + 1))]
    if (start, stop) != (0, 1):
        raise UserError(f"fractions of {num_denoisers} denoisers must be 0:1:STEP, every combination, got {text}")
    counts = itertools.product(range(num + 1), repeat=num_denoisers - 1)
    return [[round(count * step, 9) for count in (*first, num - sum(first))] for first in counts if sum(first) <= num]
