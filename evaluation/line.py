"""The model of stitched time: T(r) = r T_small + (1 - r) T_large + T_vae, and how far a measurement lies from it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Seconds of a batch: of each denoiser for all steps, and of what every image needs besides."""

    denoisers_s: list[float]
    fixed_s: float

    def at(self, fractions: Sequence[float]) -> float:
        """The ideal time of a stitched trajectory."""
        return self.fixed_s + sum(r * t for r, t in zip(fractions, self.denoisers_s, strict=True))

    def deviation_percent(self, fractions: Sequence[float], measured_s: float) -> float:
        """How much longer than ideal a measured time is."""
        return 100 * (measured_s / self.at(fractions) - 1)


def ideal_line(alone_s: Sequence[float], fixed_s: float) -> Line:
    """The line through the denoisers alone.

    Args:
        alone_s: measured time of each denoiser taking all steps, with everything.
        fixed_s: of it, what does not depend on the denoiser (autoencoder and the rest).
    """
    return Line([seconds - fixed_s for seconds in alone_s], fixed_s)
