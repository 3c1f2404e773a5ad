"""The large model at random steps, weighted so that the mean is the large model's (ML-EM, arXiv 2603.24594).

p = p_S + (B / p_i) (p_L - p_S), where B is 1 with probability p_i and 0 otherwise: at each step an unbiased estimate of
p_L at the cost of c_S + p_i c_L. The end of a trajectory has the large model's mean only where the draws of its steps
are independent and the models affine: systematic draws (ours) vary less, and their steps' errors go together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import torch
from torch import Tensor

from tstitch.denoiser import Prediction
from tstitch.errors import UserError
from tstitch.noise import ImageNoise
from tstitch.router import Ask, Stage
from tstitch.routers.by_image import scatter
from tstitch.solvers.steps import Predict, Step

BERNOULLI, SYSTEMATIC = DRAWS = ("bernoulli", "systematic")


@dataclass(frozen=True)
class MLEMRouter:
    """Each image has draws of its own.

    Attributes:
        probabilities: of the large model at each step, in [0, 1].
        draws: `bernoulli`, independent at each step, or `systematic`: one u, uniform in [0, 1), for a trajectory, and
            the large model where the sum of the probabilities passes u, u + 1, ...: the same probabilities, and, where
            they sum to a whole number, exactly that many evaluations.
    """

    probabilities: tuple[float, ...]
    draws: str = SYSTEMATIC
    small: int = 0
    large: int = 1

    def __post_init__(self) -> None:
        if self.draws not in DRAWS:
            raise UserError(f"unknown draws {self.draws!r}; known: {', '.join(DRAWS)}")
        if not all(0 <= p <= 1 for p in self.probabilities):
            raise UserError(f"probabilities must lie in [0, 1], got {list(self.probabilities)}")

    def stages(self, steps: Sequence[Step]) -> tuple[Stage, ...]:
        assert len(self.probabilities) == len(steps), "a probability for each step"
        stages, start = [], 0
        for models, group in groupby(map(self._models, self.probabilities)):
            stop = start + len(list(group))
            stages.append(Stage(models, start, stop))
            start = stop
        return tuple(stages)

    def _models(self, probability: float) -> tuple[int, ...]:
        if probability in (0, 1):
            return (self.large,) if probability else (self.small,)
        return (self.small, self.large)

    def start(self, noise: ImageNoise, steps: Sequence[Step]) -> "MLEMRoute":
        if self.draws == SYSTEMATIC:
            return MLEMRoute(self, _systematic(self.probabilities, noise.routing(DRAWS.index(SYSTEMATIC), 0)))
        uniform = [noise.routing(DRAWS.index(BERNOULLI), step.index) for step in steps]
        return MLEMRoute(self, np.stack(uniform) < np.array(self.probabilities)[:, None])

    def describe(self, steps: Sequence[Step], names: Sequence[str]) -> str:
        num_certain = self.probabilities.count(1)
        but = f" but {num_certain}" if num_certain else ""
        expected = f"{sum(self.probabilities):g} of {len(steps)} steps ({self.draws} draws for each image)"
        return f"{names[self.small]} at every step{but}, {names[self.large]} at an expected {expected}"

    def identity(self) -> dict:
        models = {"small": self.small, "large": self.large}
        return {"router": "ml_em", "draws": self.draws, "probabilities": list(self.probabilities), **models}


@dataclass
class MLEMRoute:
    """A batch with its draws (T, N) bool."""

    rule: MLEMRouter
    drawn: np.ndarray

    @property
    def decisions(self) -> Mapping[str, Tensor]:
        return {"large_steps": torch.from_numpy(self.drawn.sum(axis=0))}

    def __call__(self, step: Step, latents: Tensor, ask: Ask) -> Predict:
        rule, probability = self.rule, self.rule.probabilities[step.index]
        rows = torch.from_numpy(np.flatnonzero(self.drawn[step.index])).to(latents.device)

        def predict(asked: Tensor, timestep: int) -> Prediction:
            if probability in (0, 1):
                return ask(rule.large if probability else rule.small, asked, timestep)
            small = ask(rule.small, asked, timestep)
            if not len(rows):
                return small
            is_all = len(rows) == len(asked)
            large = ask(rule.large, asked[rows], timestep, None if is_all else rows)
            eps = small.eps[rows] + (large.eps - small.eps[rows]) / probability
            everyone = torch.arange(len(asked), device=asked.device)
            return scatter(asked, [(everyone, small), (rows, Prediction(eps, large.variance))])

        return predict


def _systematic(probabilities: Sequence[float], uniform: np.ndarray) -> np.ndarray:
    """Which steps take the large model, (T, N) bool, from one number in [0, 1) for each image."""
    # Rounded to nine digits, so that ten tenths are one.
    sums = np.array([0, *(round(total, 9) for total in accumulate(probabilities))])
    passed = np.ceil(sums[:, None] - uniform)
    return np.diff(passed, axis=0) > 0


def geometric_probabilities(num_steps: int, mean: float, ratio: float) -> tuple[float, ...]:
    """Probabilities that grow by `ratio` from step to step, as far as 1 lets them, with a given mean."""
    last = num_steps - 1 if ratio > 1 else 0  # the largest weight is 1: a power of many steps would overflow
    return spread_budget([ratio ** (index - last) for index in range(num_steps)], mean * num_steps)


def spread_budget(weights: Sequence[float], budget: float) -> tuple[float, ...]:
    """The probabilities min(1, weight / lambda) that sum to `budget`: least variance where weights are |error| (ours).

    Args:
        weights: what a wrong step costs, such as TRACK's disagreement times the solver's coefficient; 0 or more.
        budget: expected steps of the large model.

    Raises:
        UserError: a budget outside [0, the number of weights above 0], or weights that are negative or not finite.
    """
    values = np.array(weights, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise UserError(f"weights must be finite and 0 or more, got {list(weights)}")
    if not 0 <= budget <= (values > 0).sum():
        raise UserError(f"a budget of {budget:g} steps does not fit {(values > 0).sum()} steps with a weight above 0")
    is_full = np.zeros(len(values), dtype=bool)
    while True:
        rest = values[~is_full].sum()
        scale = (budget - is_full.sum()) / rest if rest > 0 else 0.0
        over = ~is_full & (values * scale > 1)
        if not over.any():
            break
        is_full |= over
    probabilities = np.where(is_full, 1.0, values * scale)
    return tuple(1.0 if math.isclose(p, 1, abs_tol=1e-12) else float(p) for p in probabilities)
