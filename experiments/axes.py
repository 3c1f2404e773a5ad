"""The points of a sweep: every combination of what is swept, checked before any of them runs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from models.checkout import CONFIG_DIR
from tstitch.errors import UserError

if TYPE_CHECKING:
    from sampling.plan import Plan

AXES = ("fractions", "guidance_scales", "samplers", "num_steps", "orders", "rules")


@dataclass(frozen=True)
class PlannedPoint:
    """A point before it runs: the complete settings of its run, their plan, and what asked for it.

    `asked` holds the settings of each place in the grids that led to this run, under the names of
    `evaluation.report.sweep.Asked`. There are several where they round to the same steps, or differ in what the run
    does not use.
    """

    settings: dict
    plan: Plan
    asked: tuple[dict, ...]

    @property
    def place(self) -> dict:
        """The point's place among the others, under the names of `evaluation.report.sweep.Point`."""
        first = self.asked[0]
        return {
            "fractions": self.plan.fractions,
            "guidance_scale": first["guidance_scale"],
            "sampler": self.plan.sampler["name"],
            "num_steps": len(self.plan.timesteps),
            "order": first["order"],
            "rule": first["rule"],
            "asked": list(self.asked),
        }


def plan_points(settings: dict) -> list[PlannedPoint]:
    """The points of the grid over `AXES` and of the grids under `also`, in the order of the axes.

    Settings that resolve to the same steps of the same denoisers are one point.

    Raises:
        UserError: an axis that is not a list, or a value that a run refuses.
    """
    also = settings["also"] or []
    if not isinstance(also, list) or not all(isinstance(grid, dict) for grid in also):
        raise UserError(f"also must be a list of further grids, each with some of {', '.join(AXES)}, got {also!r}")
    refuse_explicit_allocation(settings, "a sweep")
    if settings["residency"] == "staged":
        raise UserError("residency=staged is for scripts.sample; a sweep times its points with all networks in memory")
    axes = {axis: settings[axis] for axis in AXES}
    planned: dict[str, PlannedPoint] = {}
    for grid in [{}, *also]:
        unknown = sorted(grid.keys() - set(AXES))
        if unknown:
            raise UserError(f"unknown key {unknown[0]!r} in also; known: {', '.join(AXES)}")
        for point in _grid_points({**axes, **grid}, settings):
            key = _resolved_key(point.plan)
            known = planned.get(key, point)
            asked = (*known.asked, *(place for place in point.asked if place not in known.asked))
            planned[key] = replace(known, asked=asked)
    return list(planned.values())


def refuse_explicit_allocation(settings: dict, command: str) -> None:
    """Raise `UserError` where steps are given otherwise than by the fractions that the command goes through.

    Args:
        command: what it is, for the message.
    """
    explicit = [key for key, values in settings["stitch"].items() if key != "fractions" and values is not None]
    if explicit:
        raise UserError(
            f"{command} is over fractions, so stitch.{explicit[0]} has no meaning in it; use scripts.sample"
        )


def _resolved_key(plan: Plan) -> str:
    """Make what tells the run of a point from those of the others, which share everything but the axes."""
    scales = {index: plan.scales[index] for index in plan.used}
    return json.dumps([plan.allocation, scales, plan.sampler], sort_keys=True)


def _grid_points(axes: dict, settings: dict) -> list[PlannedPoint]:
    from sampling.plan import make_plan

    sampler, guidance, allocation = settings["sampler"], settings["guidance"], settings["allocation"]
    num_denoisers = len(settings["pair"]["denoisers"])
    values = [
        _values("guidance_scales", axes["guidance_scales"], guidance["scale"]),
        _values("samplers", axes["samplers"], sampler["name"]),
        _values("num_steps", axes["num_steps"], None),
        _values("orders", axes["orders"], allocation["order"]),
        _values("rules", axes["rules"], allocation["rule"]),
        parse_fractions(axes["fractions"], num_denoisers),
    ]
    points = []
    for scale, name, num_steps, order, rule, fractions in itertools.product(*values):
        own = _sampler(name, sampler, settings["pair"]["grid"])
        own = {**own, "num_steps": own["num_steps"] if num_steps is None else num_steps}
        complete = {
            **{key: value for key, value in settings.items() if key not in (*AXES, "also")},
            "stitch": {**settings["stitch"], "fractions": fractions},
            "guidance": {**guidance, "scale": scale},
            "sampler": own,
            "allocation": {**allocation, "order": order, "rule": rule},
        }
        asked = {
            "fractions": fractions,
            "guidance_scale": _one_scale(scale),
            "num_steps": own["num_steps"],
            "order": order,
            "rule": rule,
        }
        points.append(PlannedPoint(complete, make_plan(complete), (asked,)))
    return points


def _one_scale(scale: object) -> object:
    """A list of equal guidance scales as the one number that it means."""
    is_constant = isinstance(scale, list) and scale and all(value == scale[0] for value in scale)
    return scale[0] if is_constant else scale


def parse_fractions(fractions: object, num_denoisers: int) -> list[list[float]]:
    """Lists of fractions, one value per denoiser.

    Args:
        fractions: a list of numbers (of the small one of two denoisers) or of lists; or `START:STOP:STEP`, which for
            more than two denoisers must be `0:1:STEP` and gives every combination on that grid (66 for three at 0.1).
    """
    if isinstance(fractions, str):
        return _fraction_range(fractions, num_denoisers)
    if not isinstance(fractions, list) or not fractions:
        raise UserError(f"fractions must be a list of numbers, or of lists, or START:STOP:STEP, got {fractions!r}")
    lists = []
    for fraction in fractions:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float | list):
            raise UserError(f"fractions must be a list of numbers, or of lists, got {fraction!r} in it")
        lists.append(fraction if isinstance(fraction, list) else [fraction, round(1 - fraction, 9)])
    return lists


def _fraction_range(text: str, num_denoisers: int) -> list[list[float]]:
    try:
        start, stop, step = map(float, text.split(":"))
    except ValueError:
        raise UserError(f"fractions must be a list, or START:STOP:STEP such as 0:1:0.1, got {text!r}") from None
    num = round((stop - start) / step) if step > 0 else 0
    if not 0 <= start <= stop <= 1 or step <= 0 or abs(start + num * step - stop) > 1e-9:
        raise UserError(
            f"fractions START:STOP:STEP must lie in [0, 1] with STOP a whole number of steps on, got {text}"
        )
    if num_denoisers == 2:
        return [[value, round(1 - value, 9)] for value in (round(start + k * step, 9) for k in range(num + 1))]
    if (start, stop) != (0, 1):
        raise UserError(f"fractions of {num_denoisers} denoisers must be 0:1:STEP, every combination, got {text}")
    counts = itertools.product(range(num + 1), repeat=num_denoisers - 1)
    return [[round(count * step, 9) for count in (*first, num - sum(first))] for first in counts if sum(first) <= num]


def _values(axis: str, values: object, default: object) -> list:
    if values is None:
        return [default]
    if not isinstance(values, list) or not values:
        raise UserError(f"{axis} must be a list, or null, got {values!r}")
    return values


def _sampler(name: object, chosen: dict, grid: str) -> dict:
    """The settings of a sampler: those that were chosen, or the defaults of another one."""
    if name == chosen["name"]:
        return chosen
    path = CONFIG_DIR / "sampler" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise UserError(f"unknown sampler {name!r}; known: {', '.join(known)}")
    base, own = OmegaConf.load(CONFIG_DIR / "base" / "sampler.yaml"), OmegaConf.load(path)
    del own["defaults"]
    with_pair = OmegaConf.create({"pair": {"grid": grid}, "sampler": OmegaConf.merge(base, own)})
    return OmegaConf.to_container(with_pair, resolve=True)["sampler"]
