"""Classifier-free guidance around a denoiser (Ho & Salimans 2022), in the form that DiT and LDM run."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tstitch.denoiser import Denoiser, Prediction
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
    _taken: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        taken = self._take(condition)
        if self.scale == 1:
            return self.denoiser(latents, timestep, taken)
        both = self.denoiser(torch.cat([latents, latents]), torch.cat([timestep, timestep]), taken)
        conditional, unconditional = both.eps.chunk(2)
        start, rest = unconditional[:, : self.channels], conditional[:, conditional.shape[1] :]
        if self.channels is not None:
            rest = conditional[:, self.channels :]
        guided = start + self.scale * (conditional[:, : self.channels] - start)
        variance = None if both.variance is None else both.variance.chunk(2)[0]
        return Prediction(torch.cat([guided, rest], dim=1), variance)

    def _take(self, condition: Tensor) -> Tensor:
        """What the denoiser takes for a condition; it is the same tensor at every step, and made at the first one."""
        if not self._taken or self._taken[0][0] is not condition:
            taken = self.conditional(condition)
            if self.scale != 1:
                taken = torch.cat([taken, self.unconditional(condition)])
            self._taken[:] = [(condition, taken)]
        return self._taken[0][1]


def check_scale(scale: float) -> None:
    """Raise `UserError` unless `scale` is a finite number of 1 or more."""
    if not isinstance(scale, int | float) or not 1 <= scale < math.inf:
        raise UserError(f"guidance scale must be 1 (no guidance) or more, got {scale!r}")


def parse_channels(channels: int | str, num_channels: int) -> int | None:
    """The number of guided channels from a setting: `all`, or 1..num_channels. None means all."""
    if channels == "all":
        return None
    if not isinstance(channels, int) or not 1 <= channels <= num_channels:
        raise UserError(f"guidance channels must be 'all' or 1..{num_channels}, got {channels!r}")
    return channels
