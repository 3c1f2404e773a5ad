"""Offload: accelerate's hooks on a stitched denoiser, on a CPU as far as that goes, and on a GPU."""

import accelerate
import pytest
import torch

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError

SD = FAMILIES["sd"]
gpu = pytest.mark.gpu


@pytest.mark.parametrize("residency", ["both", "swap"])
@pytest.mark.filterwarnings("ignore:residency='swap' has no effect on a CPU")
def test_offload_with_a_cpu_in_the_place_of_the_gpu(residency: str) -> None:
    """The hooks are the real ones; only the device that they move to is not."""
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4, residency=residency)
    plain = run(SD, pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    assert hasattr(stitched, "_hf_hook")
    for _ in range(2):
        assert torch.equal(run(SD, pipe), plain)
    with pytest.warns(UserWarning, match="enable it again after unstitch"):
        unstitch(pipe)
    assert not hasattr(pipe.unet, "_hf_hook")
    stitch(pipe, stitched.denoisers[0], fraction=0.4)
    assert torch.equal(run(SD, pipe), plain)


@pytest.mark.parametrize("residency", ["both", "swap"])
@pytest.mark.filterwarnings("ignore:residency='swap' has no effect on a CPU")
def test_weights_that_are_fetched_layer_by_layer(residency: str) -> None:
    """What `enable_sequential_cpu_offload` does to each component, with the CPU in the place of the GPU."""
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4, residency=residency)
    plain = run(SD, pipe)
    accelerate.cpu_offload(stitched, execution_device=torch.device("cpu"))
    assert {parameter.device.type for parameter in stitched.parameters()} == {"meta"}
    assert torch.equal(run(SD, pipe), plain)


def test_group_offload_reaches_every_denoiser() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    stitched.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
    assert all(hasattr(each.conv_in, "_diffusers_hook") for each in stitched.denoisers)
    assert torch.equal(run(SD, pipe), plain)


def test_offload_before_stitch_is_refused() -> None:
    pipe = SD.build()
    accelerate.cpu_offload_with_hook(pipe.unet, torch.device("cpu"))
    with pytest.raises(UserError, match="call stitch first and enable_model_cpu_offload after it"):
        stitch(pipe, unet("small"), fraction=0.4)


@pytest.mark.parametrize("size", ["small", "large"])
def test_group_offload_before_stitch_is_refused(size: str) -> None:
    pipe, small = SD.build(), unet("small")
    network = small if size == "small" else pipe.unet
    network.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
    with pytest.raises(UserError, match="call stitch first and its enable_group_offload after it"):
        stitch(pipe, small, fraction=0.4)


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
