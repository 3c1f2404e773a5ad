"""The contract between solvers and networks."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Region:
    """A part of the latents that is to be predicted, of a denoiser that remembers the rest.

    Attributes:
        patches: (N, K) int64, positions row by row; None for all of them, which comes first.
        share: of the latents that this is.
        memory: what the denoiser keeps between the calls for one batch; only it looks into it.
    """

    patches: Tensor | None
    share: float
    memory: dict

    def of_rows(self, times: int) -> "Region":
        """The same region of a batch that stands `times` times in a row, as guidance doubles it."""
        patches = None if self.patches is None else self.patches.repeat(times, 1)
        return Region(patches, self.share, self.memory)


class Denoiser(Protocol):
    """Anything that predicts the noise in latents. Solvers know nothing else of networks."""

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        """Predict for latents (N, C, H, W) float32, timestep (N,) int64, condition (N, ...).

        One that has `predicts_regions` takes a `region` besides, and outside of it predicts nothing of use.
        """
