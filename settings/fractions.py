"""The fractions that a sweep goes through, and how many points they make, counted before any of them is planned."""

from dataclasses import dataclass
from math import comb
from typing import Annotated

from settings.kinds import Kind, Number, is_finite
from settings.lists import Either, ListOf, show_wrong

MOST_POINTS = 10_000
SHARE = Number(0, 1)


@dataclass(frozen=True)
class Fractions(Kind):
    """Lists of shares of the small model, of lists with one share for each denoiser, or START:STOP:STEP as text."""

    one: str = "a list of numbers from 0 to 1, or of lists of them, or START:STOP:STEP such as 0:1:0.1"
    several: str = "lists of fractions"

    def accepts(self, value: object) -> bool:
        if isinstance(value, str):
            return read_range(value) is not None
        return ListOf(Either(SHARE, ListOf(SHARE))).accepts(value)

    def complain(self, value: object) -> str:
        return f"must be {self.one}, got {show_wrong(value, Either(SHARE, ListOf(SHARE)))}"


FractionsToSweep = Annotated[list | str, Fractions()]


def read_range(text: str) -> tuple[float, float, float] | None:
    """Read START:STOP:STEP: 0 <= START <= STOP <= 1 and STEP above 0; None where the text is something else."""
    try:
        start, stop, step = map(float, text.split(":"))
    except ValueError:
        return None
    fits = all(map(is_finite, (start, stop, step))) and 0 <= start <= stop <= 1 and step > 0
    return (start, stop, step) if fits else None


def count_fractions(fractions: list | str, num_denoisers: int) -> int:
    """Count the points of fractions that `Fractions` accepts; for three denoisers and more, all combinations."""
    if isinstance(fractions, list):
        return len(fractions)
    start, stop, step = read_range(fractions)
    steps = (stop - start) / step
    if steps > MOST_POINTS:
        return int(min(steps, 10**18))  # a tiny step overflows the combinations, and is too many anyway
    return comb(round(steps) + num_denoisers - 1, num_denoisers - 1) if num_denoisers > 2 else round(steps) + 1
