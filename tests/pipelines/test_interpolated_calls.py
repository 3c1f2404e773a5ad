"""Solver steps of several calls of the denoiser, some of them at timesteps between those of two steps."""

import diffusers
import pytest
import torch

from tests.pipelines.families import FAMILIES, PROMPT, unet
from tstitch import stitch

SD = FAMILIES["sd"]


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of diffusers with NumPy 2
@pytest.mark.parametrize("num_steps", [5, 8])
def test_calls_within_a_step_may_lie_between_two_others(num_steps: int) -> None:
    """DPM2 a Karras: the second call of a step is interpolated, and the next step is rounded."""
    pipe = SD.build()
    pipe.scheduler = diffusers.KDPM2AncestralDiscreteScheduler.from_config(
        pipe.scheduler.config, use_karras_sigmas=True
    )
    call = {"prompt": PROMPT, "num_inference_steps": num_steps, "output_type": "latent"}
    alone = pipe(**call, generator=torch.Generator().manual_seed(0)).images
    stitched = stitch(pipe, unet("small"), fraction=0)
    assert torch.equal(pipe(**call, generator=torch.Generator().manual_seed(0)).images, alone)
    stitched.allocate(fraction=0.4)
    pipe(**call)
    assert stitched.allocation == (0,) * (2 * num_steps // 5) + (1,) * (num_steps - 2 * num_steps // 5)
