"""The ideal line by round."""

import pytest

from evaluation.speed.line import deviation_percent, ideal_seconds

SMALL, LARGE = [1.0, 2.0, 4.0], [3.0, 6.0, 12.0]  # a machine that slows down from round to round


def test_the_line_goes_through_the_denoisers_alone() -> None:
    assert ideal_seconds([1, 0], [SMALL, LARGE]) == SMALL
    assert ideal_seconds([0, 1], [SMALL, LARGE]) == LARGE
    assert ideal_seconds([0.5, 0.5], [SMALL, LARGE]) == [2, 4, 8]
    assert ideal_seconds([0.25, 0.25, 0.5], [[1], [2], [4]]) == [2.75]


def test_a_machine_that_slows_down_is_no_deviation() -> None:
    ideal = ideal_seconds([0.5, 0.5], [SMALL, LARGE])
    assert deviation_percent(ideal, ideal) == 0
    assert deviation_percent([1.1 * seconds for seconds in ideal], ideal) == pytest.approx(10)
    assert deviation_percent([2, 4, 80], ideal) == 0, "a round that was disturbed is outvoted"
