"""Every way to share out the steps."""

import warnings

import pytest

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch
from tstitch.allocate import parse_shares
from tstitch.errors import UserError

TIMESTEPS = [801, 601, 401, 201, 1]


@pytest.mark.parametrize(
    ("how", "allocation"),
    [
        ({"fraction": 0.4}, (0, 0, 2, 2, 2)),
        ({"fractions": [0.4, 0.2, 0.4]}, (0, 0, 1, 2, 2)),
        ({"counts": [1, 3, 1]}, (0, 1, 1, 1, 2)),
        ({"allocation": [0, 2, 1, 0, 2]}, (0, 2, 1, 0, 2)),
        ({"boundary": [601, 201]}, (0, 0, 1, 1, 2)),
        ({"denoiser_per_step": [0, 2, 1, 0, 2]}, (0, 2, 1, 0, 2)),
        ({"timestep_boundaries": [601, 201]}, (0, 0, 1, 1, 2)),
    ],
)
def test_ways_to_share_out(how: dict, allocation: tuple[int, ...]) -> None:
    if "fraction" in how:
        assert parse_shares(2, how).allocate(TIMESTEPS) == tuple(min(index, 1) for index in allocation)
    else:
        assert parse_shares(3, how).allocate(TIMESTEPS) == allocation


@pytest.mark.parametrize(
    ("num_denoisers", "how", "message"),
    [
        (2, {}, "give one of fraction, fractions, counts, denoiser_per_step, .*, allocation, boundary, got none"),
        (2, {"fraction": 0.4, "counts": [1, 4]}, "got fraction and counts"),
        (2, {"ratio": 0.4}, "give one of fraction, .* got ratio"),
        (2, {"fraction": 1.4}, r"fractions must lie in \[0, 1\]"),
        (2, {"fraction": "0.4"}, "fraction must be a list of numbers, got '0.4'"),
        (3, {"fraction": 0.4}, "fraction needs 1 value for 3 denoisers"),
        (2, {"fractions": [0.4, 0.4]}, "fractions must sum to 1"),
        (2, {"fractions": [0.2, 0.4, 0.4]}, "fractions needs 2 values for 2 denoisers"),
        (2, {"counts": [1.5, 3.5]}, "counts must be a list of whole numbers"),
        (3, {"boundary": [100, 500]}, "boundary must be finite numbers that descend"),
        (2, {"boundary": [500, 100]}, "boundary needs 1 value for 2 denoisers"),
    ],
)
def test_what_cannot_be_is_named(num_denoisers: int, how: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_shares(num_denoisers, how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"counts": [1, 3]}, "counts must be 0 or more and sum to the 5 solver steps"),
        ({"allocation": [0, 1]}, "an explicit allocation needs 5 entries"),
        ({"allocation": [0, 1, 2, 1, 1]}, "denoiser indices in 0..1, got 2"),
    ],
)
def test_another_number_of_steps_is_named_when_the_pipeline_runs(how: dict, message: str) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), **how)
    with pytest.raises(UserError, match=message):
        run(family, pipe)


def test_a_log_snr_is_read_off_the_schedulers_alphas_where_it_has_them() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), log_snr_boundaries=[-1.5])
    run(family, pipe)
    alphas_cumprod = pipe.scheduler.alphas_cumprod.double()[TIMESTEPS]
    log_snr = (alphas_cumprod / (1 - alphas_cumprod)).log()
    assert stitched.allocation == tuple((log_snr > -1.5).int().tolist())
    assert 0 < sum(stitched.allocation) < len(TIMESTEPS)
    flow = FAMILIES["sd3"]
    pipe = flow.build()
    stitch(pipe, flow.denoiser("small"), log_snr_boundaries=[-1.5])
    with pytest.raises(UserError, match="needs a scheduler with alphas_cumprod; give timestep_boundaries"):
        run(flow, pipe)


def test_three_denoisers_take_their_steps() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, unet("small"), unet("medium"), fractions=[0.4, 0.2, 0.4])
    calls = []
    for index, denoiser in enumerate(stitched.denoisers):
        denoiser.register_forward_hook(lambda *_, index=index: calls.append(index))
    run(family, pipe)
    assert calls == [0, 0, 1, 2, 2]
    stitched.allocate(boundary=[601, 401])
    run(family, pipe)
    assert stitched.allocation == (0, 0, 1, 2, 2)
    assert "0 (UNet2DConditionModel) takes 2 steps (t = 801..601)" in stitched.describe()


@pytest.mark.parametrize(
    ("how", "num_steps", "message"),
    [
        (
            {"fraction": 0.1},
            4,
            r"denoiser 0 takes no step: its fraction 0.1 of 4 solver steps is 0.4, .*denoiser: 0, 4\)",
        ),
        ({"fraction": 0.95}, 4, "denoiser 1 takes no step: its fraction 0.05 of 4 solver steps is 0.2"),
        ({"fractions": [0.5, 0.1, 0.4]}, 3, "denoiser 1 takes no step: its fraction 0.1 of 3 solver steps is 0.3"),
    ],
)
def test_a_share_that_gets_no_step_is_warned_of_once(how: dict, num_steps: int, message: str) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    small = [unet("small"), unet("medium")][: 2 if "fractions" in how else 1]
    stitched = stitch(pipe, *small, **how)
    with pytest.warns(UserWarning, match=message):
        run(family, pipe, num_inference_steps=num_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(family, pipe, num_inference_steps=num_steps)
        run(family, pipe, num_inference_steps=20)
    stitched.allocate(**how)
    with pytest.warns(UserWarning, match=message):
        run(family, pipe, num_inference_steps=num_steps)


@pytest.mark.parametrize("how", [{"fraction": 0}, {"fraction": 1}, {"counts": [0, 4]}, {"boundary": 1001}])
def test_no_share_is_no_warning(how: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(set(parse_shares(2, how).allocate((801, 601, 401, 201)))) == 1
