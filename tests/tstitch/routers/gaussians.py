"""Denoisers that are exact for Gaussian data, and trajectories with them: everything about them is known."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.networks import InMemory
from tstitch.denoiser import Prediction
from tstitch.noise import ImageNoise
from tstitch.router import Ledger, Router
from tstitch.sample import sample
from tstitch.schedule import make_schedule, make_timesteps
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import Step, trajectory_steps

SCHEDULE = make_schedule("linear", num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02)
SHAPE = (2, 3, 3)


@dataclass(frozen=True)
class Gaussian:
    """The best prediction where clean data are N(mean, deviation^2) in each dimension.

    With x = a x_0 + s eps it is s (x - a mean) / (a^2 deviation^2 + s^2): affine in x, and each image by itself.
    """

    mean: float
    deviation: float

    def affine(self, alpha_bar: float) -> tuple[float, float]:
        """Slope and intercept of the prediction at a noise level."""
        a, s = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        slope = s / (alpha_bar * self.deviation**2 + s**2)
        return slope, -slope * a * self.mean

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        slope, intercept = self.affine(float(SCHEDULE.alphas_cumprod[int(timestep[0])]))
        return Prediction(slope * latents + intercept, torch.zeros_like(latents))


SMALL, LARGE = Gaussian(-0.3, 0.7), Gaussian(0.2, 0.5)


def steps_of(num_steps: int) -> list[Step]:
    return trajectory_steps(SCHEDULE, make_timesteps("ddim_stride", num_steps, 1000))


def run(
    router: Router,
    num_images: int = 5,
    num_steps: int = 12,
    solver: str = "ddim",
    models: tuple = (SMALL, LARGE),
    latents: Tensor | None = None,
    ledger: Ledger | None = None,
    first: int = 0,
    seed: int = 7,
) -> Tensor:
    """The end of a trajectory of the images `first`, `first + 1`, ..."""
    noise = ImageNoise(seed, range(first, first + num_images))
    timesteps = make_timesteps("ddim_stride", num_steps, 1000)
    start = noise.latents(SHAPE) if latents is None else latents
    networks = InMemory(list(models), torch.zeros(num_images))
    make = solver_factory(solver, SCHEDULE, timesteps)
    return sample(router, networks, make, trajectory_steps(SCHEDULE, timesteps), start, noise, ledger=ledger)
