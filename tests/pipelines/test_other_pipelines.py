"""Pipelines that share a stitched denoiser: made of the components of the stitched one, and its copies."""

import copy

import diffusers
import pytest
import torch

from tests.pipelines import parts
from tests.pipelines.families import FAMILIES, SD_BLOCKS, image, run, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError

SD = FAMILIES["sd"]


def test_a_copy_and_its_original_run_each_by_itself() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    copied = copy.deepcopy(pipe)
    for each in (copied, pipe, copied, pipe):
        assert torch.equal(run(SD, each), plain)
    copied.unet.allocate(fraction=0.8)
    run(SD, copied, num_inference_steps=10)
    assert len(copied.unet.allocation) == 10
    assert len(stitched.allocation) == 5
    assert copied.scheduler is not pipe.scheduler
    large = unstitch(copied).unet
    assert large is not stitched.denoisers[1]
    assert torch.equal(run(SD, pipe), plain)


def test_a_copy_of_the_denoiser_alone_stands_in_its_place() -> None:
    pipe = SD.build()
    stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    pipe.unet = copy.deepcopy(pipe.unet)
    assert torch.equal(run(SD, pipe), plain)


def test_a_pipeline_of_the_same_components_ends_where_its_own_call_does() -> None:
    """SDXL's `denoising_end` leaves the last steps to a refiner, here in an image-to-image pipeline."""
    family = FAMILIES["sdxl"]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.5)
    run(family, pipe)
    other = diffusers.StableDiffusionXLImg2ImgPipeline(**pipe.components)
    other.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 10, "strength": 1.0, "denoising_end": 0.6, "image": image(), "output_type": "latent"}
    with torch.no_grad():
        other("a cat", **call)
    assert stitched.allocation == (0, 0, 0, 1, 1, 1)
    run(family, pipe)
    assert len(stitched.allocation) == 5


def test_a_controlnet_beside_the_same_components_must_fit_both() -> None:
    blocks = {key: value for key, value in SD_BLOCKS.items() if key != "up_block_types"}
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.5)  # has no mid block
    other = diffusers.StableDiffusionControlNetPipeline(
        **pipe.components, controlnet=parts.controlnet(**blocks, block_out_channels=(8, 16)),
        requires_safety_checker=False,
    )  # fmt: skip
    call = {**SD.call, "image": image(), "height": 16, "width": 16}
    with pytest.raises(UserError, match="a ControlNet fits only one; give all steps to one, or run without"):
        run(SD, other, **call)
    stitched.allocate(fraction=0)
    assert run(SD, other, **call).isfinite().all()
