"""The model of stitched time: T(r) = r T_small + (1 - r) T_large + T_vae, and how far measurements lie from it."""

from collections.abc import Sequence
from statistics import median


def ideal_seconds(fractions: Sequence[float], alone_s: Sequence[Sequence[float]]) -> list[float]:
    """The ideal time of a stitched trajectory, by round.

    Args:
        fractions: of each denoiser; they sum to one.
        alone_s: of each denoiser, the measured times of it taking all steps, by round. Each has what every image needs
            besides (T_vae), which therefore counts once.
    """
    return [sum(r * t for r, t in zip(fractions, own, strict=True)) for own in zip(*alone_s, strict=True)]


def deviation_percent(measured_s: Sequence[float], ideal_s: Sequence[float]) -> float:
    """Return how much longer than ideal measured times are: the median over rounds.

    Measured and ideal times of a round are neighbours in time, so a machine that is slow for a while is slow in both.
    """
    return 100 * (median(own / ideal for own, ideal in zip(measured_s, ideal_s, strict=True)) - 1)
