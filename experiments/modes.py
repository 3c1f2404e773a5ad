"""The modes of a latency measurement: what is timed in each, planned before any network is loaded."""

from dataclasses import dataclass

from experiments.axes import parse_fractions
from sampling.plan import Plan, make_plan
from settings.measures import LatencySettings


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


def plan_modes(settings: LatencySettings) -> list[Mode]:
    """Plan each combination of `precisions` and `compiles`; where one is null, of the single `precision` or `compile`.

    Combinations that resolve to the same precision, such as tf32 and float32 on a CPU, are one mode.

    Raises:
        UserError: a value that a run refuses.
    """
    precisions, compile_modes = settings.precisions or [settings.precision], settings.compiles or [settings.compile]
    modes: dict[str, Mode] = {}
    # On a CPU compile=max freezes weights in all that this process compiles from then on, so it comes last.
    for compile_mode in sorted(compile_modes, key=lambda mode: mode == "max"):
        for precision in precisions:
            mode = _plan_mode(settings.changed(precision=precision, compile=compile_mode))
            modes.setdefault(mode.name, mode)
    return list(modes.values())


def _plan_mode(settings: LatencySettings) -> Mode:
    num = len(settings.pair.denoisers)
    alone = [[float(k == index) for k in range(num)] for index in range(num)]
    plans: dict[tuple[int, ...], Plan] = {}
    asked: dict[tuple[int, ...], list[list[float]]] = {}
    # The ideal line goes through the denoisers alone.
    for fractions in [*parse_fractions(settings.fractions, num), *alone]:
        plan = make_plan(settings.changed(stitch={"fractions": fractions}))
        plans.setdefault(plan.allocation, plan)
        same = asked.setdefault(plan.allocation, [])
        if fractions not in same:
            same.append(fractions)
    interleaved = make_plan(settings.changed(stitch={"fractions": [1 / num] * num}, allocation={"order": "interleave"}))
    return Mode(list(plans.values()), list(asked.values()), interleaved)
