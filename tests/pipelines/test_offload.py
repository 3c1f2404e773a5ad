"""Offload: accelerate's hooks on a stitched denoiser, on a CPU as far as that goes, and on a GPU."""

import accelerate
import pytest
import torch

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError

SD = FAMILIES["sd"]
gpu = pytest.mark.gpu


def test_weights_that_are_fetched_layer_by_layer() -> None:
    """What `enable_sequential_cpu_offload` does to each component, with the CPU in the place of the GPU."""
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    accelerate.cpu_offload(stitched, execution_device=torch.device("cpu"))
    assert {parameter.device.type for parameter in stitched.parameters()} == {"meta"}
    assert torch.equal(run(SD, pipe), plain)


def test_a_hook_on_the_stitched_denoiser_moves_it_as_one() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    _, hook = accelerate.cpu_offload_with_hook(stitched, torch.device("cpu"))
    pipe._all_hooks = []
    assert torch.equal(run(SD, pipe), plain)
    with pytest.warns(UserWarning, match="enable it again after unstitch"):
        unstitch(pipe)
    assert not hasattr(pipe.unet, "_hf_hook")
    assert hook is not None


def test_offload_before_stitch_is_refused() -> None:
    pipe = SD.build()
    accelerate.cpu_offload_with_hook(pipe.unet, torch.device("cpu"))
    with pytest.raises(UserError, match="call stitch first and enable_model_cpu_offload after it"):
        stitch(pipe, unet("small"), fraction=0.4)


@gpu
@pytest.mark.parametrize("residency", ["both", "swap"])
@pytest.mark.parametrize("offload", ["none", "enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_every_way_to_place_the_denoisers_gives_the_same(residency: str, offload: str) -> None:
    plain_pipe = SD.build()
    stitch(plain_pipe, unet("small"), fraction=0.4)
    plain_pipe.to("cuda")
    plain = run(SD, plain_pipe)
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4, residency=residency)
    if offload == "none":
        pipe.to("cuda")
    else:
        getattr(pipe, offload)()
    where = []
    for denoiser in stitched.denoisers:
        denoiser.register_forward_hook(
            lambda *_: where.append([next(each.parameters()).device.type for each in stitched.denoisers])
        )
    for _ in range(2):
        assert torch.equal(run(SD, pipe), plain)
    if residency == "swap" and offload != "enable_sequential_cpu_offload":
        assert where[:5] == [["cuda", "cpu"]] * 2 + [["cpu", "cuda"]] * 3
    if offload == "enable_model_cpu_offload":
        assert {parameter.device.type for parameter in stitched.parameters()} == {"cpu"}


@gpu
def test_stitch_after_to_cuda_moves_the_small_one() -> None:
    pipe = SD.build().to("cuda")
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    assert {parameter.device.type for parameter in stitched.parameters()} == {"cuda"}
    assert run(SD, pipe).isfinite().all()


@gpu
def test_stitch_after_to_cuda_with_swap_leaves_one_on_the_gpu() -> None:
    pipe = SD.build().to("cuda")
    stitched = stitch(pipe, unet("small"), fraction=0.4, residency="swap")
    run(SD, pipe)
    assert [next(each.parameters()).device.type for each in stitched.denoisers] == ["cpu", "cuda"]
    unstitch(pipe)
    assert pipe.unet.device.type == "cuda"


@gpu
def test_half_precision_and_compile_on_a_gpu() -> None:
    pipe = SD.build().to("cuda", torch.float16)
    stitched = stitch(pipe, unet("small").half(), fraction=0.4)
    plain = run(SD, pipe)
    pipe.unet.compile()
    torch.testing.assert_close(run(SD, pipe), plain, rtol=0.05, atol=0.05)
    assert stitched.allocation == (0, 0, 1, 1, 1)
