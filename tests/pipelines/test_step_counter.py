"""The count of solver steps: shared and copied schedulers, timesteps that do not fit it, runs that were broken off."""

import copy
import gc
import itertools

import diffusers
import pytest
import torch
from torch import nn

from tests.pipelines import parts
from tests.pipelines.families import FAMILIES, NUM_STEPS, _sd, _wan, run, set_scheduler, unet
from tstitch import stitch, unstitch
from tstitch.dropin.stitched import StitchedDenoiser
from tstitch.errors import UserError
from tstitch.solvers.timestep_check import TimestepCheck
from tstitch.solvers.timesteps import forms_of, read_timestep

SD, IMG2IMG = FAMILIES["sd"], FAMILIES["sd_img2img"]


def takers(stitched: StitchedDenoiser) -> list[int]:
    """A list that gets the index of the denoiser of each call."""
    calls: list[int] = []
    for index, denoiser in enumerate(stitched.denoisers):
        denoiser.register_forward_hook(lambda *_, index=index: calls.append(index))
    return calls


@pytest.mark.parametrize("scheduler", SD.schedulers)
@pytest.mark.parametrize("first_released", [0, 1])
def test_two_stitched_pipelines_share_a_scheduler(scheduler: str, first_released: int) -> None:
    pipes = [SD.build(), SD.build()]
    set_scheduler(pipes[0], scheduler)
    pipes[1].scheduler = pipes[0].scheduler
    plain = run(SD, pipes[1])
    before = dict(vars(pipes[0].scheduler))
    both = [stitch(pipe, unet("small"), fraction=fraction) for pipe, fraction in zip(pipes, (0.4, 0.8), strict=True)]
    calls = [takers(each) for each in both]
    for _ in range(2):
        for pipe, counted, small in zip(pipes, calls, (2, 4), strict=True):
            counted.clear()
            run(SD, pipe)
            assert counted == sorted(counted)
            steps = pipe.unet.counter._run.trajectory.step_of_call
            assert [steps[index] < small for index in range(len(steps))] == [taker == 0 for taker in counted]
    unstitch(pipes[first_released])
    run(SD, pipes[1 - first_released])
    assert "of 5 steps ran" not in pipes[1 - first_released].unet.describe()
    unstitch(pipes[1 - first_released])
    assert vars(pipes[0].scheduler).keys() == before.keys()
    assert torch.equal(run(SD, pipes[1]), plain)


def test_image_to_image_beside_text_to_image_with_denoisers_of_its_own() -> None:
    """They share everything but the denoiser; each counts its own runs, in any order."""
    pipe = SD.build()
    others = {**pipe.components, "unet": unet("large", seed=3)}
    other = diffusers.StableDiffusionImg2ImgPipeline(**others, requires_safety_checker=False)
    first, second = stitch(pipe, unet("small"), fraction=0.4), stitch(other, unet("small"), fraction=0.5)
    for _ in range(2):
        run(SD, pipe)
        run(IMG2IMG, other, strength=0.5)
    assert first.allocation == (0, 0, 1, 1, 1)
    assert second.allocation == (0, 0, 1, 1)


def test_a_pipeline_that_is_gone_leaves_no_listener_behind() -> None:
    pipe, other = SD.build(), SD.build()
    other.scheduler = pipe.scheduler
    for each in (other, pipe):
        stitch(each, unet("small"), fraction=0.4)
    del other, each
    gc.collect()
    run(SD, pipe)
    unstitch(pipe)
    assert not {"step", "set_timesteps"} & vars(pipe.scheduler).keys()


def test_what_a_user_put_on_the_scheduler_stays() -> None:
    """A method of the instance is called, and is there again after unstitch."""
    pipe, steps = SD.build(), []
    plain = pipe.scheduler.step

    def step(*args: object, **kwargs: object) -> object:
        steps.append(args[1])
        return plain(*args, **kwargs)

    pipe.scheduler.step = step
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    run(SD, pipe)
    assert len(steps) == NUM_STEPS
    assert stitched.allocation == (0, 0, 1, 1, 1)
    unstitch(pipe)
    assert pipe.scheduler.step is step


def test_copies_of_the_scheduler_are_not_counted() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    pipe.scheduler.set_timesteps(NUM_STEPS)
    timesteps = pipe.scheduler.timesteps
    copied = copy.deepcopy(pipe.scheduler)
    state = copy.deepcopy(vars(pipe.scheduler))
    copied.step(torch.zeros(1, 4, 8, 8), timesteps[0], torch.zeros(1, 4, 8, 8))
    assert stitched.counter.now(timesteps[0])[1] == 0
    vars(pipe.scheduler).update(state)
    pipe.scheduler.step(torch.zeros(1, 4, 8, 8), timesteps[0], torch.zeros(1, 4, 8, 8))
    assert stitched.counter.now(timesteps[1])[1] == 1


def test_a_panorama_of_one_batch_of_views_and_of_several_is_stitched() -> None:
    """The pipeline writes copies of the scheduler's state back, and steps it once for each batch of views."""
    family = FAMILIES["sd"]
    pipe = _sd(diffusers.StableDiffusionPanoramaPipeline)
    call = {"height": 16, "width": 640}  # three views
    plain = run(family, pipe, **call)
    stitched = stitch(pipe, unet("small"), fraction=0)
    assert torch.equal(
        run(family, pipe, **call, view_batch_size=3), run(family, unstitch(pipe), **call, view_batch_size=3)
    )
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    calls = takers(stitched)
    run(family, pipe, **call, view_batch_size=3)
    assert calls == [0, 0, 1, 1, 1]
    calls.clear()
    run(family, pipe, **call, view_batch_size=1)
    assert calls == [0] * 6 + [1] * 9
    assert "steps ran" not in stitched.describe()
    assert torch.equal(run(family, unstitch(pipe), **call), plain)


def sky_transformer(size: str) -> nn.Module:
    torch.manual_seed(61 if size == "small" else 62)
    return diffusers.SkyReelsV2Transformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=1 if size == "small" else 2, attention_head_dim=12, in_channels=16,
        out_channels=16, text_dim=parts.TEXT_WIDTH, freq_dim=256, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("num_steps", [2, 5])
@pytest.mark.parametrize("more", [{}, {"ar_step": 2, "causal_block_size": 1}])
def test_diffusion_forcing_which_steps_copies_is_followed_by_its_timesteps(num_steps: int, more: dict) -> None:
    """With `ar_step` its frames are at several steps at once, of which a call has one denoiser: that is refused."""
    wan = _wan()
    components = {name: part for name, part in wan.components.items() if name not in ("transformer", "transformer_2")}
    pipe = diffusers.SkyReelsV2DiffusionForcingPipeline(**components, transformer=sky_transformer("large"))
    stitched = stitch(pipe, sky_transformer("small"), fraction=0.5)
    calls, text = takers(stitched), torch.randn(1, 16, parts.TEXT_WIDTH)
    size = {"height": 16, "width": 16, "num_frames": 9, "base_num_frames": 9, "num_inference_steps": num_steps}
    call = {"prompt": None, "prompt_embeds": text, "negative_prompt_embeds": text, "max_sequence_length": 16, **size}
    if not more:
        pipe(**call, output_type="np")
        num_small = round(0.5 * num_steps)
        assert calls == [0] * 2 * num_small + [1] * 2 * (num_steps - num_small)
        assert "steps ran" not in stitched.describe()
        return
    with pytest.raises(UserError, match="predicts several steps at once"):
        pipe(**call, **more, output_type="np")
    assert f"of {num_steps} steps ran" in stitched.describe()


def test_several_timesteps_in_one_batch_are_refused() -> None:
    """As ParaDiGMS has them: one call for a window of the trajectory."""
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    pipe.scheduler.set_timesteps(NUM_STEPS)
    latents, text = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 32)
    with pytest.raises(UserError, match="called with timestep 601 to 801, but 801 was expected after 0 calls"):
        stitched(latents, pipe.scheduler.timesteps[:2], text)
    stitched(latents, pipe.scheduler.timesteps[0].expand(2), text)


@pytest.mark.parametrize("name", SD.schedulers)
@pytest.mark.parametrize("mistake", ["skips", "repeats", "backwards"])
def test_a_loop_that_does_not_step_once_for_each_timestep_is_refused(name: str, mistake: str) -> None:
    pipe = SD.build()
    set_scheduler(pipe, name)
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    pipe.scheduler.set_timesteps(8)
    timesteps = list(pipe.scheduler.timesteps)
    order = {"skips": timesteps[::3], "repeats": [timesteps[0]] * 4, "backwards": timesteps[::-1]}[mistake]
    latents, text = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 32)
    with pytest.raises(UserError, match=r"was expected|outside a run"), torch.no_grad():
        for index, timestep in enumerate(order):
            stitched(latents, timestep, text)
            pipe.scheduler.step(latents, timesteps[index], latents)


@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
@pytest.mark.parametrize(
    ("dtype", "form"),
    [
        *itertools.product(
            [torch.float32, torch.float16, torch.bfloat16, torch.float64], ["t", "t / 1000", "1 - t / 1000", "1000 - t"]
        ),
        (torch.float32, "sqrt"),  # in half precision too coarse to tell from the usual forms of other steps
        (torch.float64, "sqrt"),
    ],
)
def test_forms_in_which_flow_networks_take_timesteps(scheduler: str, dtype: torch.dtype, form: str) -> None:
    """All of a run agree; a counter that is not heard, or one that counts twice, is noticed in all of them."""
    kind = getattr(diffusers, scheduler)(shift=3.0)
    kind.set_timesteps(20)
    grid, values = kind.timesteps, tuple(kind.timesteps.tolist())

    def passed(t: torch.Tensor) -> torch.Tensor:
        t = t.expand(2).to(dtype)
        return {
            "t": t, "t / 1000": t / 1000, "1 - t / 1000": 1 - t / 1000, "1000 - t": 1000 - t, "sqrt": (t / 1000).sqrt(),
        }[form]  # fmt: skip

    def compare(came: list[int], expected: list[int]) -> None:
        check = TimestepCheck(values, *forms_of(kind))
        for index, counted in zip(came, expected, strict=True):
            check.call(read_timestep(passed(grid[index]), grid, values), values, counted)
        check.complete()

    calls = list(range(len(values)))
    compare(calls, calls)
    with pytest.raises(UserError, match="was expected"):
        compare(calls, [0] * len(calls))
    with pytest.raises(UserError, match="was expected"):
        compare([index // 2 for index in calls], calls)


def test_tokens_that_are_clean_have_a_timestep_of_their_own() -> None:
    kind = diffusers.FlowMatchEulerDiscreteScheduler()
    kind.set_timesteps(4)
    values = tuple(kind.timesteps.tolist())
    check = TimestepCheck(values, *forms_of(kind))
    for t in kind.timesteps:
        check.call(
            read_timestep(t * torch.tensor([[0.0, 0.3, 1.0]]), kind.timesteps, values), values, values.index(t.item())
        )


def test_a_timestep_of_the_grid_is_read_without_its_device() -> None:
    """On a GPU this is what keeps the host from waiting. The tensor holds other numbers here, which are not read."""
    grid, values = torch.full((4,), torch.nan), (801.0, 601.0, 401.0, 201.0)
    for timestep in (grid[2], grid[2].expand(3), grid[2:3], grid[1:][1][None, None]):
        assert read_timestep(timestep, grid, values).wait() == (401.0,)
    for timestep in (grid[2] / 1000, grid[2].clone(), grid[1:3], torch.full((4,), torch.nan)[2], grid[2].double()):
        assert read_timestep(timestep, grid, values).wait() != (401.0,)


@pytest.mark.parametrize("how", ["denoiser", "callback", "scheduler"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
@pytest.mark.parametrize("residency", ["both", "swap"])
@pytest.mark.filterwarnings("ignore:residency='swap' has no effect on a CPU")
def test_a_run_that_was_broken_off_leaves_the_next_one_alone(how: str, error: type, residency: str) -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.5, residency=residency)
    expected = run(SD, pipe, num_inference_steps=4)
    calls, broken = [], []

    def break_off(*_: object, **__: object) -> None:
        calls.append(1)
        if len(calls) == 4 and not broken:
            broken.append(1)
            raise error("in the middle")

    def after(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        break_off()
        return tensors

    more = {"callback_on_step_end": after} if how == "callback" else {}
    if how == "denoiser":
        stitched.register_forward_hook(break_off)
    if how == "scheduler":
        plain = pipe.scheduler.scale_model_input
        pipe.scheduler.scale_model_input = lambda *args: (break_off(), plain(*args))[1]
    with pytest.raises(error):
        run(SD, pipe, num_inference_steps=6, **more)
    assert stitched.allocation == (0, 0, 0, 1, 1, 1)
    assert f"{3 if how == 'scheduler' else 4} of 6 steps ran" in stitched.describe()
    assert torch.equal(run(SD, pipe, num_inference_steps=4), expected)
    assert "steps ran" not in stitched.describe()


def test_describe_says_nothing_of_a_run_that_never_began() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), counts=[2, 3])
    run(SD, pipe)
    assert "takes 2 steps" in stitched.describe()
    with pytest.raises(UserError, match="sum to the 4 solver steps"):
        run(SD, pipe, num_inference_steps=4)
    assert stitched.describe() == "no run yet"


def test_guidance_by_stage_in_a_pipeline_made_of_components_is_refused() -> None:
    """It reads a scale of its own, which the stitched denoiser does not reach."""
    pipe = SD.build()
    stitch(pipe, unet("small"), fraction=0.5, guidance_scale=[2.0, 7.0])
    run(SD, pipe)
    other = diffusers.StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    with pytest.raises(UserError, match="only in the pipeline that was stitched"):
        run(IMG2IMG, other)
