"""Conventions: what denoisers were trained with, and their predictions on the trajectory of another noise schedule.

A state is x = a x_0 + s eps. Two schedules agree on a state where a / s is the same, so a denoiser of another schedule
is given that state at the timestep where its own a' / s' is this ratio, in its own size. Where both schedules have the
same a and s, nothing changes.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tstitch.denoiser import Prediction, Region
from tstitch.guidance import ConditionedDenoiser
from tstitch.schedule import make_schedule

# What a network predicts: factors of eps and of x_0, as functions of its a and s (Salimans & Ho 2022; Lipman 2023).
PREDICTIONS = {
    "eps": lambda a, s: (1.0, 0.0),
    "v": lambda a, s: (a, -s),
    "flow": lambda a, s: (1.0, -1.0),
    "x0": lambda a, s: (0.0, 1.0),
}


class Scales(Protocol):
    """A noise schedule of any kind: the scales of signal and noise at each timestep, falling ratio with rising t."""

    def scales(self, timestep: float) -> tuple[float, float]:
        """Return a and s of the states a x_0 + s eps at a timestep."""

    def timestep_at(self, log_ratio: float) -> float:
        """Return the timestep at which log(a / s) has a value; the nearer end where none has."""


@dataclass(frozen=True)
class FlowSchedule:
    """Straight paths from data to noise: x = (1 - sigma) x_0 + sigma eps (rectified flow, flow matching).

    A network takes t = `num_train_timesteps` sigma, of a shifted schedule as well.
    """

    num_train_timesteps: int = 1000

    def scales(self, timestep: float) -> tuple[float, float]:
        sigma = timestep / self.num_train_timesteps
        return 1 - sigma, sigma

    def timestep_at(self, log_ratio: float) -> float:
        return self.num_train_timesteps / (1 + math.exp(log_ratio))


@dataclass(frozen=True)
class VESchedule:
    """Exploding variance: x = x_0 + sigma eps, sigma geometric in the timestep (Song et al. 2021, section 3.4)."""

    sigma_min: float
    sigma_max: float
    num_train_timesteps: int = 1000

    def scales(self, timestep: float) -> tuple[float, float]:
        share = timestep / (self.num_train_timesteps - 1)
        return 1.0, self.sigma_min * (self.sigma_max / self.sigma_min) ** share

    def timestep_at(self, log_ratio: float) -> float:
        share = (-log_ratio - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return min(max(share, 0.0), 1.0) * (self.num_train_timesteps - 1)


OTHER_SCHEDULES = {"flow": FlowSchedule, "ve": VESchedule}  # of denoisers; solvers run on those with betas


@dataclass(frozen=True)
class Convention:
    """The noise schedule and the kind of prediction that a denoiser was trained with.

    Attributes:
        schedule: its noise schedule.
        prediction: one of `PREDICTIONS`.
    """

    schedule: Scales
    prediction: str = "eps"

    def factors(self, timestep: float) -> tuple[float, float]:
        """Return the factors of eps and of x_0 in what is predicted at a timestep."""
        return PREDICTIONS[self.prediction](*self.schedule.scales(timestep))

    def to_eps(self, predicted: Tensor, state: Tensor, timestep: float) -> Tensor:
        """Turn what was predicted for a state (N, ...) of this schedule into eps."""
        (a, s), (of_eps, of_clean) = self.schedule.scales(timestep), self.factors(timestep)
        if of_clean == 0:
            return predicted
        return (a * predicted - of_clean * state) / (a * of_eps - of_clean * s)

    def to_clean(self, predicted: Tensor, state: Tensor, timestep: float) -> Tensor:
        """Turn what was predicted for a state (N, ...) of this schedule into x_0."""
        (a, s), (of_eps, of_clean) = self.schedule.scales(timestep), self.factors(timestep)
        return (of_eps * state - s * predicted) / (a * of_eps - of_clean * s)

    def predict(self, eps: Tensor, clean: Tensor, timestep: float) -> Tensor:
        """Turn eps and x_0 (N, ...) into what is predicted."""
        of_eps, of_clean = self.factors(timestep)
        return of_eps * eps + of_clean * clean


@dataclass(frozen=True)
class Match:
    """A timestep of the trajectory as a denoiser of another schedule takes it.

    Attributes:
        timestep: its own, of the same ratio of signal to noise; not rounded.
        factor: from the trajectory's state to its own.
        is_clamped: its schedule does not go as far; it is given its last timestep.
    """

    timestep: float
    factor: float
    is_clamped: bool


def match_timestep(trajectory: Scales, own: Scales, timestep: float) -> Match:
    """Match a timestep of the trajectory by the ratio of signal to noise.

    Where the denoiser's schedule does not go as far, the state keeps the size that it has at its last timestep.
    """
    a, s = trajectory.scales(timestep)
    log_ratio = math.log(a / s) if a > 0 else -math.inf
    matched = own.timestep_at(log_ratio)
    own_a, own_s = own.scales(matched)
    is_clamped = not math.isclose(own_a * s, a * own_s, rel_tol=1e-6, abs_tol=1e-12)
    return Match(matched, math.hypot(own_a, own_s) / math.hypot(a, s), is_clamped)


def make_convention(prediction: str, kind: str, **schedule: float) -> Convention:
    """Make a convention from the name of its prediction, and the kind and the numbers of its schedule."""
    make = OTHER_SCHEDULES.get(kind)
    return Convention(make_schedule(kind, **schedule) if make is None else make(**schedule), prediction)


@dataclass(frozen=True)
class MatchedDenoiser:
    """A conditioned denoiser of another convention, asked about the states of a trajectory.

    A learned variance is left out: its range is that of the denoiser's own steps.
    """

    denoiser: ConditionedDenoiser
    own: Convention
    trajectory: Scales

    @property
    def evaluations_per_image(self) -> int:
        return self.denoiser.evaluations_per_image

    def share_of(self, region: Region | None) -> float:
        """The share of a whole evaluation that a region takes."""
        return self.denoiser.share_of(region)

    def __call__(
        self, latents: Tensor, timestep: float, rows: Tensor | None = None, region: Region | None = None
    ) -> Prediction:
        """Predict eps for states (N, C, H, W) of the trajectory, or (M, C, H, W) of the images at `rows` (M,)."""
        match = match_timestep(self.trajectory, self.own.schedule, timestep)
        state = latents * match.factor
        predicted = self.denoiser(state, match.timestep, rows, region).eps
        return Prediction(self.own.to_eps(predicted, state, match.timestep))
