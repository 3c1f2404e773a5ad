"""Classifier-free guidance around a denoiser (Ho & Salimans 2022), in the form that DiT and LDM run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tstitch.denoiser import Denoiser, Prediction, Region
from tstitch.errors import UserError


@dataclass(frozen=True)
class GuidedDenoiser:
    """`eps = uncond + scale * (cond - uncond)` on some channels, in one doubled batch.

    The paper's equation 4 writes the same with s = scale - 1; the reported scales are these. A
    scale of 1 is no guidance and costs a single evaluation.

    Attributes:
        denoiser: what is guided.
        scale: 1 or more.
        channels: how many leading channels are guided, None for all. The others, and the
            variance, are those of the conditional prediction. DiT guides 3 of its 4.
        unconditional: from a condition (N, ...) to what the denoiser takes as "no condition".
        conditional: from a condition to what the denoiser takes; by default the condition itself.
    """

    denoiser: Denoiser
    scale: float
    channels: int | None
    unconditional: Callable[[Tensor], Tensor]
    conditional: Callable[[Tensor], Tensor] = lambda condition: condition

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def prepare(self, condition: Tensor) -> ConditionedDenoiser:
        """Condition the denoiser on a batch of images, once for all steps: "no condition" may be drawn at random.

        Args:
            condition: (N, ...), one for each image.
        """
        taken = self.conditional(condition)
        if self.scale != 1:
            taken = torch.cat([taken, self.unconditional(condition)])
        return ConditionedDenoiser(self.denoiser, taken, self.scale, self.channels)


@dataclass(frozen=True)
class ConditionedDenoiser:
    """A guided denoiser with the condition of a batch of images; made by `GuidedDenoiser.prepare`.

    Attributes:
        condition: what the denoiser takes, (N, ...); guided (2 N, ...), the conditional half first.
    """

    denoiser: Denoiser
    condition: Tensor
    scale: float = 1.0
    channels: int | None = None

    @property
    def evaluations_per_image(self) -> int:
        """Evaluations of the network for one image in one call: guidance doubles them."""
        return 1 if self.scale == 1 else 2

    def share_of(self, region: Region | None) -> float:
        """The share of a whole evaluation that a region takes: all of it where the denoiser cannot predict a part."""
        can_save = region is not None and getattr(self.denoiser, "predicts_regions", False)
        return region.share if can_save else 1

    def __call__(
        self, latents: Tensor, timestep: float, rows: Tensor | None = None, region: Region | None = None
    ) -> Prediction:
        """Predict for latents (N, C, H, W) float32, or (M, C, H, W) of the images at the positions `rows` (M,).

        Args:
            region: of the latents of all images, where a part is enough.
        """
        condition = self.condition if rows is None else self._condition_of(rows)
        takes_region = region is not None and getattr(self.denoiser, "predicts_regions", False)
        if self.scale == 1:
            part = {"region": region} if takes_region else {}
            return self.denoiser(latents, _filled(timestep, latents), condition, **part)
        doubled = torch.cat([latents, latents])
        part = {"region": region.of_rows(2)} if takes_region else {}
        both = self.denoiser(doubled, _filled(timestep, doubled), condition, **part)
        conditional, unconditional = both.eps.chunk(2)
        start, rest = unconditional[:, : self.channels], conditional[:, conditional.shape[1] :]
        if self.channels is not None:
            rest = conditional[:, self.channels :]
        guided = start + self.scale * (conditional[:, : self.channels] - start)
        variance = None if both.variance is None else both.variance.chunk(2)[0]
        return Prediction(torch.cat([guided, rest], dim=1), variance)

    def _condition_of(self, rows: Tensor) -> Tensor:
        return torch.cat([half[rows] for half in self.condition.chunk(self.evaluations_per_image)])


def _filled(timestep: float, latents: Tensor) -> Tensor:
    return torch.full((len(latents),), timestep, device=latents.device)


def check_scale(scale: float) -> None:
    """Raise `UserError` unless `scale` is a finite number of 1 or more."""
    if not isinstance(scale, int | float) or not 1 <= scale < math.inf:
        raise UserError(f"guidance scale must be 1 (no guidance) or more, got {scale!r}")


def parse_channels(channels: int | str, num_channels: int) -> int | None:
    """Read the number of guided channels from a setting: `all`, or 1..num_channels. None means all."""
    if channels == "all":
        return None
    if not isinstance(channels, int) or not 1 <= channels <= num_channels:
        raise UserError(f"guidance channels must be 'all' or 1..{num_channels}, got {channels!r}")
    return channels
