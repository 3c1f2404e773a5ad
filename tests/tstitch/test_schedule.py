import numpy as np
import pytest

from tstitch.errors import UserError
from tstitch.schedule import check_timesteps, linear_schedule, make_schedule, make_timesteps, scaled_linear_schedule


def test_linear_schedule_is_the_product_of_its_alphas() -> None:
    schedule = linear_schedule()
    assert schedule.num_train_timesteps == 1000
    assert schedule.alphas_cumprod[0] == 1 - 1e-4
    assert np.allclose(schedule.alphas_cumprod[-1], np.exp(np.log1p(-np.linspace(1e-4, 0.02, 1000)).sum()))


def test_scaled_linear_schedule_is_linear_in_the_square_root() -> None:
    alphas = scaled_linear_schedule(0.0015, 0.0195).alphas_cumprod
    betas = 1 - alphas / np.concatenate([[1.0], alphas[:-1]])
    assert np.allclose(np.diff(np.sqrt(betas), n=2), 0, atol=1e-9)
    assert betas[0] == pytest.approx(0.0015)
    assert betas[-1] == pytest.approx(0.0195)


@pytest.mark.parametrize(
    ("grid", "num_steps", "first_three", "last"),
    [  # the timesteps that the released code visits
        ("dit_linspace", 10, [999, 888, 777], 0),
        ("dit_linspace", 20, [999, 946, 894], 0),
        ("dit_linspace", 25, [999, 957, 916], 0),
        ("dit_linspace", 50, [999, 979, 958], 0),
        ("dit_linspace", 1000, [999, 998, 997], 0),
        ("dit_linspace", 1, [0], 0),
        ("ddim_stride", 50, [980, 960, 940], 0),
        ("ddim_stride", 250, [996, 992, 988], 0),
    ],
)
def test_grids(grid: str, num_steps: int, first_three: list[int], last: int) -> None:
    timesteps = make_timesteps(grid, num_steps)
    assert timesteps[:3] == first_three
    assert timesteps[-1] == last
    assert len(timesteps) == num_steps
    check_timesteps(timesteps, 1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_timesteps("dit_linspace", 0), "1..1000, got 0"),
        (lambda: make_timesteps("dit_linspace", 1001), "1..1000, got 1001"),
        (lambda: make_timesteps("cosine", 10), "'cosine'; known: dit_linspace, ddim_stride, ldm_uniform"),
        (lambda: make_timesteps("ddim_stride", 300), "no whole stride that gives 300"),
        (lambda: make_schedule("sigmoid"), "'sigmoid'; known: linear, scaled_linear, cosine"),
        (lambda: linear_schedule(0.1, 1.5), "betas must lie in"),
        (lambda: check_timesteps([5, 5], 1000), "descend strictly"),
        (lambda: check_timesteps([], 1000), "descend strictly"),
        (lambda: check_timesteps([1000, 0], 1000), "descend strictly"),
    ],
)
def test_bad_values_are_named(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
