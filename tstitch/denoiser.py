"""The contract between solvers and networks."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Prediction(NamedTuple):
    """Output of a denoiser for noisy latents.

    `eps` (N, C, H, W) float32 is the predicted noise. `variance`, of the same shape, is the raw
    learned-range value: -1 means the posterior variance, +1 means beta (Nichol & Dhariwal 2021,
    equation 15). None where the network has no such output.
    """

    eps: Tensor
    variance: Tensor | None = None


class Denoiser(Protocol):
    """Anything that predicts the noise in latents. Solvers know nothing else of networks."""

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        """Predict for latents (N, C, H, W) float32, timestep (N,) int64, condition (N, ...)."""
