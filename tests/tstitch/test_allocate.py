import pytest

from tstitch.allocate import ORDERS, arrange
from tstitch.errors import UserError

HALVES = (0,) * 50 + (1,) * 50


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "decreasing"])
@pytest.mark.parametrize("allocation", [HALVES, (0,) * 3 + (1,) * 7, (0, 1, 1, 2, 2, 2), (1, 1, 1), (0,)])
def test_everybody_keeps_his_number_of_steps(order: str, allocation: tuple[int, ...]) -> None:
    assert sorted(arrange(allocation, order)) == sorted(allocation)


def test_orders_at_one_half() -> None:
    assert arrange(HALVES, "small_to_large") == HALVES
    assert arrange(HALVES, "large_to_small") == (1,) * 50 + (0,) * 50
    assert arrange(HALVES, "interleave") == (0, 1) * 50


def test_interleaved_shares_hold_all_along() -> None:
    arranged = arrange((0,) * 20 + (1,) * 30 + (2,) * 50, "interleave")
    for stop in range(1, 101):
        for index, share in ((0, 0.2), (1, 0.3), (2, 0.5)):
            assert abs(arranged[:stop].count(index) - share * stop) <= 1


def test_decreasing_falls_linearly() -> None:
    draws = [arrange(HALVES, "decreasing", seed) for seed in range(400)]
    assert {draw[0] for draw in draws} == {0}
    assert {draw[-1] for draw in draws} == {1}
    for step in (10, 25, 50, 75, 90):
        small = sum(draw[step] == 0 for draw in draws) / len(draws)
        assert small == pytest.approx(1 - step / 99, abs=0.1)
    assert arrange(HALVES, "decreasing", 3) == draws[3]


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(UserError, match="unknown allocation order 'zigzag'; known: small_to_large, large_to_small"):
        arrange(HALVES, "zigzag")
    for allocation in ((0, 0, 0, 1), (0, 1, 2)):
        with pytest.raises(UserError, match="decreasing is for two denoisers with half of the"):
            arrange(allocation, "decreasing")
