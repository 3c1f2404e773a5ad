"""The modes of a latency measurement: what is timed in each, planned before any network is loaded."""

from dataclasses import dataclass

from experiments.axes import AXES, parse_fractions, refuse_explicit_allocation
from sampling.plan import Plan, check_whole_number, make_plan
from tstitch.errors import UserError


@dataclass(frozen=True)
class Mode:
    """A precision and a compile mode, with the plans that are timed in it.

    `plans` have different allocations, each denoiser alone among them. `asked` holds for each plan the fractions that
    led to it, since they are rounded to whole steps. In `interleaved` the denoisers take turns, for the cost of a
    switch.
    """

    plans: list[Plan]
    asked: list[list[list[float]]]
    interleaved: Plan

    @property
    def name(self) -> str:
        """The settings that it stands for."""
        return f"precision={self.plans[0].precision} compile={self.plans[0].compile}"

    @property
    def is_compiled(self) -> bool:
        """Tell whether its networks are compiled."""
        return self.plans[0].compile != "none"


def check_settings(settings: dict) -> None:
    """Check the settings of a latency measurement that are not checked with its plans.

    Raises:
        UserError: names the setting and what would be accepted.
    """
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


def plan_modes(settings: dict) -> list[Mode]:
    """Plan each combination of `precisions` and `compiles`; where one is null, of the single `precision` or `compile`.

    Combinations that resolve to the same precision, such as tf32 and float32 on a CPU, are one mode.

    Raises:
        UserError: not a list, an empty one, or a value that a run refuses.
    """
    precisions, compile_modes = _listed(settings, "precisions"), _listed(settings, "compiles")
    modes: dict[str, Mode] = {}
    # On a CPU compile=max freezes weights in all that this process compiles from then on, so it comes last.
    for compile_mode in sorted(compile_modes, key=lambda mode: mode == "max"):
        for precision in precisions:
            mode = _plan_mode({**settings, "precision": precision, "compile": compile_mode})
            modes.setdefault(mode.name, mode)
    return list(modes.values())


def _listed(settings: dict, key: str) -> list:
    values, single = settings[key], settings[key.removesuffix("s")]
    if values is None:
        return [single]
    if not isinstance(values, list) or not values:
        raise UserError(f"{key} must be a list of values of {key.removesuffix('s')}, got {values!r}")
    return values


def _plan_mode(settings: dict) -> Mode:
    num = len(settings["pair"]["denoisers"])
    alone = [[float(k == index) for k in range(num)] for index in range(num)]
    plans: dict[tuple[int, ...], Plan] = {}
    asked: dict[tuple[int, ...], list[list[float]]] = {}
    # The ideal line goes through the denoisers alone.
    for fractions in [*parse_fractions(settings["fractions"], num), *alone]:
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
    return Mode(list(plans.values()), list(asked.values()), interleaved)
