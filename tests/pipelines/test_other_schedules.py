"""Denoisers of other noise schedules and prediction types in one pipeline: twins of its own denoiser change nothing."""

import inspect
from collections.abc import Callable

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.pipelines.families import FAMILIES, Family, run, set_scheduler, unet
from tstitch import stitch
from tstitch.convention import match_timestep
from tstitch.errors import UserError
from tstitch.solvers.scheduler_convention import config_of, convention_of, have_one_schedule

BETAS = {"scaled_linear": (0.00085, 0.012), "linear": (0.0001, 0.02)}
Scales = Callable[[float], tuple[float, float]]


def alphas_cumprod(kind: str) -> np.ndarray:
    first, last = BETAS[kind]
    betas = np.linspace(first**0.5, last**0.5, 1000) ** 2 if kind == "scaled_linear" else np.linspace(first, last, 1000)
    return np.cumprod(1 - betas)


def of_betas(kind: str) -> Scales:
    log_ratio = np.log(alphas_cumprod(kind) / (1 - alphas_cumprod(kind)))

    def scales(t: float) -> tuple[float, float]:
        alpha_bar = 1 / (1 + np.exp(-np.interp(t, np.arange(1000), log_ratio)))
        return alpha_bar**0.5, (1 - alpha_bar) ** 0.5

    return scales


def of_flow(t: float) -> tuple[float, float]:
    return 1 - t / 1000, t / 1000


def timestep_of_betas(kind: str, ratio: float) -> float:
    """The timestep at which a / s has a value."""
    ratios = np.sqrt(alphas_cumprod(kind) / (1 - alphas_cumprod(kind)))
    return float(np.interp(-np.log(ratio), -np.log(ratios), np.arange(1000)))


def timestep_of_flow(ratio: float) -> float:
    return 1000 / (1 + ratio)


def predictions(kind: str, a: float, s: float, eps: Tensor, state: Tensor) -> Tensor:
    clean = (state - s * eps) / a
    return {"epsilon": eps, "v_prediction": a * eps - s * clean, "sample": clean, "flow": eps - clean}[kind]


def to_eps(kind: str, a: float, s: float, predicted: Tensor, state: Tensor) -> Tensor:
    if kind == "epsilon":
        return predicted
    return {
        "v_prediction": lambda: s * state + a * predicted,
        "sample": lambda: (state - a * predicted) / s,
        "flow": lambda: state + (1 - s) * predicted,
    }[kind]()


def twin(original: nn.Module, base: type, own: Scales, own_kind: str, its: Scales, timestep: Callable, kind: str):
    """A network that knows what the original knows, on a schedule of its own, predicting what it predicts."""

    signature = inspect.signature(base.forward)

    def forward(self: nn.Module, *args, **kwargs) -> tuple[Tensor]:
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        first, t = list(given)[1], given.pop("timestep")
        a, s = own(float(torch.as_tensor(t).flatten()[0]))
        its_t = timestep(a / s)
        its_a, its_s = its(its_t)
        latents = given.pop(first)
        state = latents * (its_a / a)
        more = {key: value for key, value in given.items() if key not in ("self", "return_dict")}
        output = original(state, timestep=torch.full(torch.as_tensor(t).shape, its_t), return_dict=False, **more)[0]
        return (predictions(own_kind, a, s, to_eps(kind, its_a, its_s, output, state), latents),)

    forward.__signature__ = signature
    Twin = type(base.__name__, (base,), {"forward": forward})
    return Twin.from_config(original.config).eval()


def pipe_of(family: Family, network: nn.Module, scheduler: object) -> object:
    pipe = family.build()
    setattr(pipe, family.attribute, network)
    pipe.scheduler = scheduler
    return pipe


SD = FAMILIES["sd"]
DDIM = diffusers.DDIMScheduler


def with_betas(kind: str, prediction_type: str) -> diffusers.DDIMScheduler:
    first, last = BETAS[kind]
    return DDIM(beta_start=first, beta_end=last, beta_schedule=kind, prediction_type=prediction_type)


@pytest.fixture
def sd() -> object:
    pipe = SD.build()
    pipe.scheduler = with_betas("scaled_linear", "epsilon")
    return pipe


OF_SD = {
    "v": (of_betas("scaled_linear"), "v_prediction", lambda: with_betas("scaled_linear", "v_prediction")),
    "v on other betas": (of_betas("linear"), "v_prediction", lambda: with_betas("linear", "v_prediction")),
    "eps on other betas": (of_betas("linear"), "epsilon", lambda: with_betas("linear", "epsilon")),
    "clean latents": (of_betas("linear"), "sample", lambda: with_betas("linear", "sample")),
    "flow": (of_flow, "flow", lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)),
}


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize("name", OF_SD)
def test_a_twin_of_stable_diffusion_changes_nothing(sd: object, name: str, scheduler: str) -> None:
    set_scheduler(sd, scheduler)
    alone, large = run(SD, sd), sd.unet
    own, kind, make_scheduler = OF_SD[name]
    its = of_betas("scaled_linear")
    network = twin(
        large,
        diffusers.UNet2DConditionModel,
        own,
        kind,
        its,
        lambda r: timestep_of_betas("scaled_linear", r),
        "epsilon",
    )
    small = pipe_of(SD, network, make_scheduler())
    with pytest.raises(UserError, match=r"allow=\['schedule'\] converts it"):
        stitch(sd, small, fraction=0.6)
    stitched = stitch(sd, small, fraction=0.6, allow=["schedule"])
    assert torch.allclose(run(SD, sd), alone, atol=2e-3)
    assert stitched.allocation == (0, 0, 0, 1, 1)


def test_a_twin_with_betas_changes_nothing_in_a_pipeline_of_flow_matching() -> None:
    family = FAMILIES["sd3"]
    pipe = family.build()
    alone, large = run(family, pipe), pipe.transformer
    own = of_betas("linear")
    network = twin(large, diffusers.SD3Transformer2DModel, own, "v_prediction", of_flow, timestep_of_flow, "flow")
    small = pipe_of(family, network, with_betas("linear", "v_prediction"))
    stitch(pipe, small, fraction=0, allow=["schedule"]).allocate(allocation=(1, 0, 0, 0, 1))  # betas end below sigma 1
    assert torch.allclose(run(family, pipe), alone, atol=2e-3)


def test_without_the_conversion_it_is_another_image(sd: object) -> None:
    alone, large = run(SD, sd), sd.unet
    its = of_betas("scaled_linear")
    network = twin(
        large,
        diffusers.UNet2DConditionModel,
        its,
        "v_prediction",
        its,
        lambda r: timestep_of_betas("scaled_linear", r),
        "epsilon",
    )
    small = pipe_of(SD, network, with_betas("scaled_linear", "v_prediction"))
    stitch(sd, small, fraction=0.6, allow=["prediction_type"])
    assert not torch.allclose(run(SD, sd), alone, atol=2e-2)


def test_a_network_without_its_scheduler_cannot_be_converted(sd: object) -> None:
    with pytest.raises(UserError, match=r"allow=\['schedule'\] needs its noise schedule; give the pipeline"):
        stitch(sd, unet("small"), fraction=0.4, allow=["schedule"])


def test_other_betas_alone_are_a_reason(sd: object) -> None:
    small = pipe_of(SD, unet("small"), with_betas("linear", "epsilon"))
    with pytest.raises(UserError, match="it was trained on another noise schedule"):
        stitch(sd, small, fraction=0.4)


def test_a_small_one_that_comes_first_starts_from_all_noise() -> None:
    """Flow matching begins at sigma 1, where the state says nothing of the image: the small one's own x_0 does."""
    family = FAMILIES["sd3"]
    pipe = family.build()
    small = pipe_of(family, family.denoiser("small"), with_betas("linear", "epsilon"))
    stitch(pipe, small, fraction=0.4, allow=["schedule"])
    assert torch.isfinite(run(family, pipe)).all()


def test_all_noise_of_a_schedule_with_zero_signal_at_its_end() -> None:
    pipe, settings = SD.build(), {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    pipe.scheduler = DDIM(prediction_type="v_prediction", **settings)
    small = pipe_of(SD, SD.denoiser("small"), with_betas("scaled_linear", "epsilon"))
    stitch(pipe, small, fraction=0.4, allow=["schedule"])
    assert torch.isfinite(run(SD, pipe)).all()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_one_convention_is_called_as_it_is_to_the_bit(kind: str) -> None:
    """The converted call would round differently."""
    images = []
    for allow in ([], ["schedule"]):
        pipe = SD.build()
        pipe.scheduler = with_betas("scaled_linear", kind)
        stitched = stitch(
            pipe, pipe_of(SD, unet("small"), with_betas("scaled_linear", kind)), fraction=0.4, allow=allow
        )
        images.append(run(SD, pipe))
        assert {step.own_timestep for step in stitched.plan(5)} == {None}
    assert torch.equal(*images)


def test_the_plan_and_a_warning_name_the_steps_beyond_the_small_ones_schedule() -> None:
    """Linear betas end at log(a / s) = -5.06, scaled linear ones at -2.68."""
    pipe = SD.build()
    first, last = BETAS["linear"]
    pipe.scheduler = DDIM(beta_start=first, beta_end=last, beta_schedule="linear", timestep_spacing="trailing")
    small = pipe_of(SD, unet("small"), with_betas("scaled_linear", "epsilon"))
    stitched = stitch(pipe, small, fraction=0.6, allow=["schedule"])
    plan = stitched.plan(5)
    a, s = of_betas("linear")(599)
    assert [(step.model, step.is_clamped) for step in plan] == [
        (0, True),
        (0, True),
        (0, False),
        (1, False),
        (1, False),
    ]
    assert plan[0].own_timestep == 999
    assert plan[2].own_timestep == pytest.approx(timestep_of_betas("scaled_linear", a / s), abs=0.05)
    assert plan[3].own_timestep is None
    with pytest.warns(UserWarning, match="t = 999, 799 is beyond the noise schedule of the denoiser that takes it"):
        run(SD, pipe)


def test_shifted_betas_of_video_are_their_own_schedule() -> None:
    """CogVideoX divides its signal-to-noise ratio (of powers) by the shift: schedules to be told apart, and matched."""
    own, other = (
        convention_of(config_of(diffusers.CogVideoXDDIMScheduler(snr_shift_scale=shift))) for shift in (1.0, 3.0)
    )
    assert not have_one_schedule(own, other)
    for t in (300, 600):
        a, s = other.schedule.scales(t)
        plain, noise = own.schedule.scales(t)
        assert (a / s) ** 2 == pytest.approx((plain / noise) ** 2 / 3, rel=1e-3)
        a, s = own.schedule.scales(match_timestep(other.schedule, own.schedule, t).timestep)
        assert a / s == pytest.approx(np.divide(*other.schedule.scales(t)), rel=1e-3)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"),
        lambda: diffusers.DDPMScheduler(beta_schedule="sigmoid"),
    ],
    ids=["continuous timesteps", "a schedule that is not known"],
)
def test_a_schedule_that_cannot_be_matched_is_refused(sd: object, scheduler: Callable) -> None:
    small = pipe_of(SD, unet("small"), scheduler())
    with pytest.raises(UserError, match="needs schedulers with betas and whole timesteps, or of flow matching"):
        stitch(sd, small, fraction=0.4, allow=["schedule"])
