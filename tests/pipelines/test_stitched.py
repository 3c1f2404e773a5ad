"""A stitched denoiser is, to its pipeline, the large one."""

import copy
from pathlib import Path

import diffusers
import pytest
import torch

from tests.pipelines.families import FAMILIES, NUM_STEPS, image, run, set_scheduler, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError

SD = FAMILIES["sd"]


def stitched_sd(fraction: float = 0.4, **more) -> tuple:
    pipe = SD.build()
    return pipe, stitch(pipe, unet("small"), fraction=fraction, **more)


def test_it_has_the_face_of_the_large_denoiser() -> None:
    family = FAMILIES["sdxl"]
    pipe = family.build()
    large = pipe.unet
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    assert pipe.unet is stitched
    assert isinstance(stitched, diffusers.UNet2DConditionModel)
    assert stitched.config is large.config
    assert (stitched.dtype, stitched.device) == (large.dtype, large.device)
    assert stitched.add_embedding is large.add_embedding
    assert stitched.attn_processors.keys() == large.attn_processors.keys()
    assert pipe.components["unet"] is stitched
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = stitched.no_such_thing
    with stitched.addressing(0):
        assert stitched.config is stitched.denoisers[0].config
    assert stitched.config is large.config


def test_attention_processors_and_freeu_reach_the_large_denoiser() -> None:
    pipe, stitched = stitched_sd()
    processor = diffusers.models.attention_processor.AttnProcessor()
    stitched.set_attn_processor(processor)
    assert set(stitched.denoisers[1].attn_processors.values()) == {processor}
    assert processor not in stitched.denoisers[0].attn_processors.values()
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert stitched.denoisers[1].up_blocks[0].b1 == 1.2


def test_casting_moves_every_denoiser() -> None:
    pipe, stitched = stitched_sd()
    pipe.to(torch.float64)
    assert {parameter.dtype for parameter in stitched.parameters()} == {torch.float64}
    assert run(SD, pipe).isfinite().all()
    assert len(list(stitched.parameters())) == sum(len(list(each.parameters())) for each in stitched.denoisers)


def test_hooks_on_it_see_every_call() -> None:
    pipe, stitched = stitched_sd()
    outputs = []
    stitched.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
    run(SD, pipe)
    assert len(outputs) == NUM_STEPS


def test_the_callback_and_interrupt_work_and_the_next_run_starts_anew() -> None:
    pipe, _ = stitched_sd()
    whole = run(SD, pipe)
    seen = []

    def stop_after_three(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        seen.append((index, type(pipe.unet), sorted(tensors)))
        pipe._interrupt = index == 2
        return tensors

    run(SD, pipe, callback_on_step_end=stop_after_three)
    assert [entry[0] for entry in seen] == [0, 1, 2]
    assert torch.equal(run(SD, pipe), whole)


def test_batches_are_runs_side_by_side() -> None:
    pipe, _ = stitched_sd()
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    call = {key: value for key, value in SD.call.items() if key != "prompt"}
    pipe.set_progress_bar_config(disable=True)

    def sample(prompts: list[str], latents: torch.Tensor) -> torch.Tensor:
        result = pipe(prompts, latents=latents, num_inference_steps=NUM_STEPS, output_type="latent", **call)
        return result.images

    both = sample(["a cat", "a hat"], noise)
    alone = torch.cat([sample(["a cat"], noise[:1]), sample(["a hat"], noise[1:])])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)
    assert len(pipe(["a cat"], num_images_per_prompt=3, num_inference_steps=2, output_type="np", **call).images) == 3


@pytest.mark.long
@pytest.mark.parametrize("how", ["before", "each", "in_place", "whole"])
def test_compiled_denoisers_run_as_plain_ones(how: str) -> None:
    """Both networks go through the compiler, and neither the switch nor the counting does."""
    plain = run(SD, stitched_sd()[0])
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        graphs.append(graph)
        return graph.forward

    pipe = SD.build()
    if how == "before":
        pipe.unet = torch.compile(pipe.unet, backend=backend)
        stitched = stitch(pipe, torch.compile(unet("small"), backend=backend), fraction=0.4)
    else:
        stitched = stitch(pipe, unet("small"), fraction=0.4)
    if how == "each":
        stitched.denoisers[1] = torch.compile(stitched.denoisers[1], backend=backend)
    if how == "in_place":
        pipe.unet.compile(backend=backend)
    if how == "whole":
        pipe.unet = torch.compile(pipe.unet, backend=backend)
    assert isinstance(stitched, diffusers.UNet2DConditionModel)
    torch.testing.assert_close(run(SD, pipe), plain, rtol=1e-4, atol=1e-4)
    assert len(graphs) >= (1 if how == "each" else 2)
    assert stitched.allocation == (0, 0, 1, 1, 1)
    unstitch(pipe)
    torch._dynamo.reset()


@pytest.mark.slow
def test_the_default_compiler_gives_what_plain_networks_give() -> None:
    plain = run(SD, stitched_sd()[0])
    pipe, stitched = stitched_sd()
    pipe.unet.compile()
    torch.testing.assert_close(run(SD, pipe), plain, rtol=1e-3, atol=1e-3)
    stitched.allocate(fraction=0.8)
    assert run(SD, pipe).isfinite().all()
    assert stitched.allocation == (0, 0, 0, 0, 1)


def test_a_saved_pipeline_is_the_large_one(tmp_path: Path) -> None:
    pipe, _ = stitched_sd()
    with pytest.warns(UserWarning, match="only the large denoiser"):
        pipe.save_pretrained(tmp_path)
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    unstitch(pipe)
    assert torch.equal(run(SD, loaded), run(SD, pipe))


def test_unstitch_leaves_pipeline_and_scheduler_as_they_were() -> None:
    pipe = SD.build()
    large, config, scheduler = pipe.unet, dict(pipe.config), dict(vars(pipe.scheduler))
    stitch(pipe, unet("small"), fraction=0.4)
    assert dict(pipe.config) == config
    assert unstitch(pipe) is pipe
    assert pipe.unet is large
    assert dict(pipe.config) == config
    assert vars(pipe.scheduler).keys() == scheduler.keys()


def test_a_deep_copy_of_the_scheduler_steps_by_itself() -> None:
    """Some pipelines run a copy of their scheduler beside it."""
    pipe, stitched = stitched_sd()
    pipe.scheduler.set_timesteps(NUM_STEPS)
    other = copy.deepcopy(pipe.scheduler)
    other.set_timesteps(2)
    other.step(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 4, 8, 8))
    assert len(pipe.scheduler.timesteps) == NUM_STEPS
    assert stitched.counter.now(pipe.scheduler.timesteps[0])[1] == 0


def test_pipelines_made_of_its_components_share_it() -> None:
    """Image to image with the components of a stitched pipeline, whose scheduler they share."""
    pipe, stitched = stitched_sd(fraction=0.5)
    run(SD, pipe)
    other = diffusers.StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    run(FAMILIES["sd_img2img"], other, strength=0.5)
    assert stitched.allocation == (0, 0, 1, 1)
    other = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(pipe, unet=pipe.unet)
    run(FAMILIES["sd_img2img"], other, strength=1.0)
    assert stitched.allocation == (0,) * 4 + (1,) * 4
    other.scheduler = diffusers.EulerDiscreteScheduler.from_config(other.scheduler.config)
    with pytest.raises(UserError, match="outside a run of the scheduler of its pipeline"):
        run(FAMILIES["sd_img2img"], other)


def test_a_loop_of_ones_own_works_and_a_call_outside_a_run_is_refused() -> None:
    pipe, stitched = stitched_sd(fraction=0.5)
    latents, text = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 32)
    with pytest.raises(UserError, match="set_timesteps first"):
        stitched(latents, 801, text)
    pipe.scheduler.set_timesteps(4)
    with torch.no_grad():
        for timestep in pipe.scheduler.timesteps:
            latents = pipe.scheduler.step(stitched(latents, timestep, text).sample, timestep, latents).prev_sample
    assert stitched.allocation == (0, 0, 1, 1)
    with pytest.raises(UserError, match="outside a run"):
        stitched(latents, 801, text)


def test_guidance_of_its_own_for_each_stage() -> None:
    """Equal to a run whose callback changes the pipeline's scale, as diffusers documents it."""
    pipe = SD.build()
    small, large = unet("small"), pipe.unet
    pipe.unet = small

    def switch(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        if index == 1:
            pipe.unet, pipe._guidance_scale = large, 7.0
        return tensors

    by_hand = run(SD, pipe, guidance_scale=2.0, callback_on_step_end=switch)
    stitch(pipe, small, fraction=0.4, guidance_scale=[2.0, 7.0])
    assert torch.equal(run(SD, pipe, guidance_scale=4.0), by_hand)
    with pytest.raises(UserError, match="needs a call with a guidance_scale above 1"):
        run(SD, pipe, guidance_scale=1.0)


def test_residency_swap_gives_the_same_and_says_that_a_cpu_gains_nothing() -> None:
    plain = run(SD, stitched_sd()[0])
    pipe, _ = stitched_sd(residency="swap")
    with pytest.warns(UserWarning, match="no effect on a CPU"):
        assert torch.equal(run(SD, pipe), plain)
    pipe.to(torch.float64)
    assert {parameter.dtype for parameter in pipe.unet.parameters()} == {torch.float64}


def test_residency_swap_takes_only_the_one_at_work_to_a_device() -> None:
    """The meta device stands for a GPU; that a run goes on from there is tested on one."""
    pipe, stitched = stitched_sd(residency="swap")
    pipe.unet.to("meta")
    assert [each.device.type for each in stitched.denoisers] == ["meta", "cpu"]
    assert stitched.device.type == "meta"


def test_caches_are_entered_for_every_denoiser() -> None:
    """First-block caching with a threshold that always caches, in both transformers: far from the plain run."""
    family = FAMILIES["wan"]
    pipe, small = family.build(), family.denoiser("small")
    stitched = stitch(pipe, small, fraction=0.4)
    plain = run(family, pipe)
    for denoiser in stitched.denoisers:
        denoiser.enable_cache(diffusers.FirstBlockCacheConfig(threshold=1e9))
    cached = run(family, pipe)
    assert not torch.equal(cached, plain)
    assert torch.equal(run(family, pipe), cached)  # the caches of all denoisers are emptied after a run
    with stitched.addressing(0):
        stitched.disable_cache()
    stitched.disable_cache()
    assert torch.equal(run(family, pipe), plain)


def test_inpainting_and_image_to_image_keep_their_scheduler_after_a_change() -> None:
    family = FAMILIES["sd_img2img"]
    pipe = family.build()
    stitched = stitch(pipe, unet("small"), fraction=0.5)
    set_scheduler(pipe, "EulerDiscreteScheduler")
    run(family, pipe, image=image(1), strength=0.5)
    assert stitched.allocation == (0, 0, 1, 1)
