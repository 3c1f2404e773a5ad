"""The cost of a trajectory, from the times of each model alone at two numbers of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tstitch.allocation import Allocation


@dataclass(frozen=True)
class Costs:
    """Seconds of a step of each model, and of all that does not depend on the steps."""

    of_step: tuple[float, ...]
    fixed: float

    def seconds(self, allocation: Allocation) -> float:
        """The seconds of a trajectory with this allocation."""
        return self.fixed + sum(self.of_step[model] for model in allocation)


def fit_costs(few: int, many: int, seconds: Sequence[tuple[float, float]]) -> Costs:
    """Fit the costs to the seconds of each model alone with `few` and with `many` steps: the slope is a step's cost.

    What does not depend on the steps is the same for all models: the mean of what each says.
    """
    of_step = tuple(max((of_many - of_few) / (many - few), 1e-9) for of_few, of_many in seconds)
    rest = [of_few - few * step for (of_few, _), step in zip(seconds, of_step, strict=True)]
    return Costs(of_step, max(sum(rest) / len(rest), 0.0))
