import itertools
import math

import pytest

from tstitch.allocation import (
    allocation_from_counts,
    allocation_from_fractions,
    allocation_from_list,
    describe_allocation,
)
from tstitch.errors import UserError
from tstitch.schedule import make_timesteps

TENTHS = [round(0.1 * i, 1) for i in range(11)]

# Steps of the small model at r = 0, 0.1, ..., 1 in the released code (two models).
RELEASED_COUNTS = {
    ("dit_linspace", 10): [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    ("dit_linspace", 20): [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20],
    ("dit_linspace", 25): [0, 3, 5, 8, 10, 13, 15, 17, 20, 22, 25],
    ("dit_linspace", 50): [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50],
    ("dit_linspace", 100): [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
    ("dit_linspace", 250): [0, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250],
    ("dit_linspace", 1000): [0, 100, 200, 300, 400, 500, 600, 699, 800, 900, 1000],
    ("ddim_stride", 10): [0, 1, 2, 3, 4, 5, 6, 6, 8, 9, 10],
    ("ddim_stride", 20): [0, 2, 4, 6, 8, 10, 12, 13, 16, 18, 20],
    ("ddim_stride", 25): [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25],
    ("ddim_stride", 50): [0, 5, 10, 15, 20, 25, 30, 34, 40, 45, 50],
    ("ddim_stride", 100): [0, 10, 20, 30, 40, 50, 60, 69, 80, 90, 100],
    ("ddim_stride", 250): [0, 25, 50, 75, 100, 125, 150, 174, 200, 225, 250],
}


def small_steps(fractions: list[float], grid: str, num_steps: int, rule: str) -> int:
    return allocation_from_fractions(fractions, make_timesteps(grid, num_steps), rule).count(0)


@pytest.mark.parametrize(("grid", "num_steps"), RELEASED_COUNTS)
def test_timestep_rule_has_the_released_counts(grid: str, num_steps: int) -> None:
    counts = [small_steps([r, 1 - r], grid, num_steps, "timestep") for r in TENTHS]
    assert counts == RELEASED_COUNTS[grid, num_steps]


@pytest.mark.parametrize("num_steps", [10, 20, 50, 100, 250, 1000])
def test_steps_rule_rounds_as_the_paper(num_steps: int) -> None:
    counts = [small_steps([r, round(1 - r, 9)], "dit_linspace", num_steps, "steps") for r in TENTHS]
    assert counts == [i * num_steps // 10 for i in range(11)]


@pytest.mark.parametrize("rule", ["steps", "timestep"])
@pytest.mark.parametrize(("grid", "num_steps"), [("dit_linspace", 100), ("dit_linspace", 50), ("ddim_stride", 100)])
def test_all_66_three_model_settings_are_exact(grid: str, num_steps: int, rule: str) -> None:
    timesteps = make_timesteps(grid, num_steps)
    settings = [(s, b, 10 - s - b) for s, b in itertools.product(range(11), repeat=2) if s + b <= 10]
    assert len(settings) == 66
    for setting in settings:
        allocation = allocation_from_fractions([part / 10 for part in setting], timesteps, rule)
        assert [allocation.count(k) for k in range(3)] == [part * num_steps // 10 for part in setting]
        assert list(allocation) == sorted(allocation)


def test_released_three_model_rule_at_25_steps() -> None:
    timesteps = make_timesteps("dit_linspace", 25)
    for fractions, counts in [((0.5, 0.3, 0.2), [13, 7, 5]), ((0.4, 0.2, 0.4), [10, 5, 10])]:
        allocation = allocation_from_fractions(fractions, timesteps, "timestep")
        assert [allocation.count(k) for k in range(3)] == counts


def test_explicit_forms() -> None:
    assert allocation_from_counts([2, 0, 1], 3) == (0, 0, 2)
    assert allocation_from_list([1, 0, 1], 3, 2) == (1, 0, 1)


def test_description_names_steps_and_timesteps() -> None:
    text = describe_allocation((0, 0, 1), [999, 500, 0], ["small", "large"])
    assert text == "small takes 2 steps (t = 999..500), large takes 1 step (t = 0)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocation_from_fractions([-0.1, 1.1], [1, 0]), r"lie in \[0, 1\], got \[-0.1, 1.1\]"),
        (lambda: allocation_from_fractions([math.nan, 1.0], [1, 0]), r"lie in \[0, 1\], got \[nan"),
        (lambda: allocation_from_fractions([0.5, 0.6], [1, 0]), "sum to 1.1"),
        (
            lambda: allocation_from_fractions([0.5, 0.5], [1, 0], "floor"),
            "'floor'; known: steps, timestep, timestep_strict",
        ),
        (lambda: allocation_from_counts([1, 1], 3), r"sum to the 3 solver steps, got \[1, 1\]"),
        (lambda: allocation_from_counts([4, -1], 3), "0 or more"),
        (lambda: allocation_from_list([0, 2], 2, 2), r"0\.\.1, got 2"),
        (lambda: allocation_from_list([0], 2, 2), "2 entries, one per step, got 1"),
    ],
)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
