"""A stitched pipeline within a budget of time: costs by hand, weights by the formula, and whole choices."""

import math
from itertools import pairwise

import diffusers
import numpy as np
import pytest

from tests.pipelines.families import FAMILIES, PROMPT, run
from tstitch import LatentChange, calibrate, expect_time, expected_time, fit_budget, stitch
from tstitch.budget import _allocations, _moves
from tstitch.costs import Costs
from tstitch.dropin.stitch import find_stitched
from tstitch.errors import UserError
from tstitch.routers.track import step_weights
from tstitch.solvers.scheduler_steps import noise_levels, schedule_of
from tstitch.solvers.steps import Step

TINY = {"num_inference_steps": [2, np.int64(4)], "seeds": [np.int64(0)]}


@pytest.mark.parametrize(
    ("seconds", "large"), [(0.9, None), (1.0, 0), (1.6, 0), (2.0, 1), (2.99, 1), (3.0, 2), (5.0, 4), (99.0, 4)]
)
def test_the_large_one_gets_as_many_steps_as_fit(seconds: float, large: int | None) -> None:
    costs = Costs((0.2, 1.2), fixed=0.2)
    allocations = _allocations(np.array([1.0, 4.0, 3.0, 2.0]), costs, seconds + 1e-9)
    if large is None:
        assert allocations == []
        return
    assert allocations[0] == (0,) * (4 - large) + (1,) * large
    by_disagreement = {0: (0, 0, 0, 0), 1: (0, 1, 0, 0), 2: (0, 1, 1, 0), 4: (1, 1, 1, 1)}[large]
    assert allocations[-1] == by_disagreement
    assert all(costs.seconds(each) <= seconds + 1e-9 for each in allocations)


def test_a_small_one_that_is_no_cheaper_gets_nothing() -> None:
    assert _allocations(np.ones(2), Costs((2.0, 1.0), fixed=0.0), 4.0) == [(1, 1)]
    assert _allocations(np.ones(2), Costs((1.0, 2.0), fixed=0.0), math.inf) == [(1, 1)]


def test_steps_move_as_in_the_formula() -> None:
    """DDIM of Stable Diffusion: |d x_next / d eps| from its alphas."""
    pipe = FAMILIES["sd"].build()
    stitched = stitch(pipe, FAMILIES["sd"].denoiser("small"), fraction=0.5)
    alphas = schedule_of(pipe.scheduler).alphas_cumprod
    timesteps = [int(step.timestep) for step in stitched.plan(5)]
    bars = [*(float(alphas[t]) for t in timesteps), 1.0]
    steps = [Step(i, t, None, bars[i], bars[i + 1]) for i, t in enumerate(timesteps)]
    pipe.scheduler.set_timesteps(5)
    levels = noise_levels(pipe.scheduler, timesteps)
    assert _moves(pipe.scheduler, levels) == pytest.approx(step_weights(steps), rel=1e-4)
    late = slice(3, None)  # noise levels below 1, as flow matching has them
    assert _moves(pipe.scheduler, levels[late]) == pytest.approx(step_weights(steps)[late], rel=1e-4)
    flow = FAMILIES["sd3"].build().scheduler
    assert _moves(flow, [1.0, 0.5, 0.25]) == pytest.approx([0.5, 0.25, 0.25]), "flow matching"
    assert _moves(pipe.scheduler, [None, None]).tolist() == [1, 1]


def test_a_schedule_that_begins_without_signal_has_finite_weights() -> None:
    """Of a velocity: |d x_next / d v| is the sine of the angle between the two noise levels."""
    zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    scheduler = diffusers.DDIMScheduler(**zero_snr)
    scheduler.set_timesteps(4)
    timesteps = scheduler.timesteps.tolist()
    angles = [math.acos(min(1.0, float(scheduler.alphas_cumprod[t]) ** 0.5)) for t in timesteps]
    sines = [math.sin(angle - after) for angle, after in pairwise([*angles, 0.0])]
    assert _moves(scheduler, noise_levels(scheduler, timesteps)) == pytest.approx(sines, abs=1e-3)


@pytest.fixture
def timed(monkeypatch) -> None:
    """One second for a step of the small one, three for one of the large one, and half a second for all else."""

    run_timed = expected_time._seconds

    def seconds(pipe: object, num_steps: int, call: dict) -> float:
        run_timed(pipe, num_steps, call)
        _, stitched = find_stitched(pipe)
        run_of_small = stitched.shares.values[0] == 1
        return 0.5 + len(stitched.trajectory.timesteps) * (1.0 if run_of_small else 3.0)

    monkeypatch.setattr(expected_time, "_seconds", seconds)


@pytest.mark.parametrize(
    ("milliseconds", "counts"), [(2500, {2: 0}), (4500, {2: 1, 4: 0}), (8500, {2: 2, 4: 2}), (60_000, {2: 2, 4: 4})]
)
def test_the_nearest_setting_within_the_budget_is_taken(timed, milliseconds: float, counts: dict[int, int]) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0)
    fit = fit_budget(pipe, [PROMPT, "a hat"], budget_ms=milliseconds, **TINY)
    tried = [fit.best, *fit.others]
    assert {each.num_inference_steps: each.allocation.count(1) for each in tried} == counts
    assert all(each.milliseconds <= milliseconds for each in tried)
    assert fit.best.distance == min(each.distance for each in tried)
    pipe(PROMPT, num_inference_steps=fit.best.num_inference_steps)
    assert stitched.allocation == fit.best.allocation
    if milliseconds == 60_000:
        assert (fit.best.allocation, fit.best.distance) == ((1, 1, 1, 1), 0), "the large denoiser's own latents"


WITH_PROMPTS = [name for name in FAMILIES if name != "dit"]


@pytest.mark.parametrize("name", WITH_PROMPTS)
def test_every_family_is_fitted_twice_and_runs_as_it_says(timed, name: str) -> None:
    """With late starts, shifted timesteps and shares that were explicit before."""
    family = FAMILIES[name]
    pipe = family.build()
    steps = family.call.get("num_inference_steps", 5)
    call = {key: value for key, value in family.call.items() if key not in ("generator", "num_inference_steps")}
    prompts = [call.pop("prompt", PROMPT)]
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.5)
    for _ in range(2):
        fit = fit_budget(pipe, prompts, budget_ms=9000, num_inference_steps=[steps - 1, steps], seeds=[0], **call)
        pipe(prompts[0], num_inference_steps=fit.best.num_inference_steps, **call)
        assert stitched.allocation == fit.best.allocation
        seconds = 0.5 + sum(3.0 if model else 1.0 for model in fit.best.allocation)
        assert fit.best.milliseconds == pytest.approx(1000 * seconds), "of the steps that run, late starts included"
        assert seconds <= 9


def test_times_of_this_machine_are_enough_for_a_whole_choice() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0)
    fit = fit_budget(pipe, [PROMPT], budget_ms=1e6, **TINY)
    assert fit.best.allocation == (1, 1, 1, 1)
    assert 0 < fit.best.milliseconds < 1e6


def test_mistakes_are_named_and_change_nothing(timed) -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    with pytest.raises(UserError, match="is not stitched"):
        fit_budget(pipe, [PROMPT], budget_ms=100)
    stitch(pipe, family.denoiser("small"), fraction=0.4)
    before = run(family, pipe)
    with pytest.raises(
        UserError, match=r"budget_ms=2400 is too little: 2 steps of the small denoiser alone take 2500 ms"
    ):
        fit_budget(pipe, [PROMPT], budget_ms=2400, **TINY)
    for wrong in ({"budget_ms": 0}, *({"budget_ms": 100, "num_inference_steps": steps} for steps in ([], 4))):
        with pytest.raises(UserError, match="needs a list of numbers of steps and milliseconds above 0"):
            fit_budget(pipe, [PROMPT], **wrong)
    for wrong, message in (
        ({"num_inference_steps": "12"}, "list of numbers of steps"),
        ({"num_inference_steps": [2.0]}, "list of numbers of steps"),
        ({"seeds": 5}, "needs a list of seeds, got 5"),
        ({"generator": None}, "sets generator itself"),
    ):
        with pytest.raises(UserError, match=message):
            fit_budget(pipe, [PROMPT], budget_ms=100, **{**TINY, **wrong})
    for prompts in (None, [], PROMPT):
        with pytest.raises(UserError, match="needs a list of prompts"):
            fit_budget(pipe, prompts, budget_ms=100)
    assert (run(family, pipe) == before).all()


def test_the_time_of_a_plan_is_expected_before_it_runs(timed) -> None:
    """Of a calibration, of three denoisers' shares, and of a rule from its earliest switch to none."""
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.25)
    calibration = calibrate(pipe, [PROMPT], num_inference_steps=4, seeds=[0], output_type="latent")
    stitched.allocate(allocation=calibration.allocation(0.5))
    expected = expect_time(pipe, PROMPT, num_inference_steps=4)
    assert (expected.least, expected.most) == pytest.approx((8500, 8500))
    assert (*expected.of_step, expected.fixed) == pytest.approx((1000, 3000, 500))
    stitched.allocate(rule=LatentChange(delta=0.03, min_steps=2))
    expected = expect_time(pipe, PROMPT, num_inference_steps=4)
    assert (expected.least, expected.most) == pytest.approx((8500, 12_500)), "large, large, small, small; or no switch"


def test_a_late_start_is_expected_to_take_less(timed) -> None:
    family = FAMILIES["sd_img2img"]
    pipe = family.build()
    stitch(pipe, family.denoiser("small"), fraction=0.5)
    call = {key: value for key, value in family.call.items() if key not in ("prompt", "num_inference_steps")}
    expected = expect_time(pipe, PROMPT, num_inference_steps=8, **{**call, "strength": 0.5})
    assert expected.least == expected.most == pytest.approx(500 + 2 * 1000 + 2 * 3000)


def test_what_cannot_be_timed_is_a_line() -> None:
    family = FAMILIES["sd"]
    pipe = family.build()
    with pytest.raises(UserError, match="is not stitched"):
        expect_time(pipe, PROMPT, num_inference_steps=4)
    stitch(pipe, family.denoiser("small"), fraction=0.5, residency="swap")
    with pytest.raises(UserError, match="residency='swap' cannot be timed"):
        expect_time(pipe, PROMPT, num_inference_steps=4)
