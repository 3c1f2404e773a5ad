import numpy as np
import pytest

from sampling.foreign import steps_of_unet_s_ratio, timestep_of_boundary_ratio, timestep_of_denoising_end
from tstitch.allocation import allocation_from_log_snr, allocation_from_timesteps, log_snr_at
from tstitch.errors import UserError
from tstitch.schedule import linear_schedule, make_timesteps, scaled_linear_schedule

TIMESTEPS = [999, 800, 600, 400, 200, 0]


def test_a_boundary_belongs_to_the_denoiser_before_it() -> None:
    assert allocation_from_timesteps([600], TIMESTEPS) == (0, 0, 0, 1, 1, 1)
    assert allocation_from_timesteps([600.5], TIMESTEPS) == (0, 0, 1, 1, 1, 1)
    assert allocation_from_timesteps([700, 200], TIMESTEPS) == (0, 0, 1, 1, 1, 2)
    assert allocation_from_timesteps([1001], TIMESTEPS) == (1,) * 6
    assert allocation_from_timesteps([0], TIMESTEPS) == (0,) * 6


def test_log_snr_is_the_logarithm_of_the_ratio_of_variances() -> None:
    schedule = linear_schedule()
    value = log_snr_at([500], schedule)[0]
    signal = schedule.alphas_cumprod[500]
    assert np.exp(value) == pytest.approx(signal / (1 - signal))
    assert np.all(np.diff(log_snr_at(TIMESTEPS, schedule)) > 0)


def test_one_log_snr_means_the_same_noise_on_any_schedule() -> None:
    timesteps = make_timesteps("dit_linspace", 100)
    for schedule in (linear_schedule(), scaled_linear_schedule(0.0015, 0.0195)):
        allocation = allocation_from_log_snr([-2.0], timesteps, schedule)
        switch = allocation.index(1)
        before, after = log_snr_at([timesteps[switch - 1], timesteps[switch]], schedule)
        assert before <= -2 < after
    with pytest.raises(UserError, match=r"log-SNR boundaries must be finite numbers that ascend, got \[0, -2\]"):
        allocation_from_log_snr([0, -2], timesteps, schedule)
    with pytest.raises(UserError, match="timestep boundaries must be finite numbers that descend"):
        allocation_from_timesteps([float("nan")], timesteps)


def test_denoising_end_is_what_diffusers_does() -> None:
    """SDXL's base keeps the scheduler's timesteps that are not below the cut-off."""
    timesteps = make_timesteps("ddim_stride", 50)
    for share in (0.1, 0.37, 0.8):
        cutoff = round(1000 - share * 1000)
        kept = [t for t in timesteps if t >= cutoff]
        assert allocation_from_timesteps([timestep_of_denoising_end(share)], timesteps).count(0) == len(kept)
    assert timestep_of_denoising_end(0.8) == 200
    assert timestep_of_boundary_ratio(0.9) == 900


@pytest.mark.parametrize(
    ("calls", "counts"),
    [
        (50, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]),
        (51, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 51]),
        (26, [0, 2, 5, 7, 10, 13, 15, 18, 20, 23, 26]),
        (25, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25]),
    ],
)
def test_the_releases_ratio_rounds_down(calls: int, counts: list[int]) -> None:
    assert [steps_of_unet_s_ratio(k / 10, calls) for k in range(11)] == counts


def test_shares_outside_their_range_are_refused() -> None:
    for convert in (timestep_of_denoising_end, timestep_of_boundary_ratio, lambda v: steps_of_unet_s_ratio(v, 50)):
        with pytest.raises(UserError, match=r"must lie in \[0, 1\], got 1.5"):
            convert(1.5)
