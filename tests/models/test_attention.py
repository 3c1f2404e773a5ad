"""Attention runs as one fused operation, flash where the device has it, in every kind of network."""

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from torch.overrides import TorchFunctionMode

from models.autoencoder import decode
from models.denoisers import DiTDenoiser, UNetDenoiser
from models.dit import DiT, dit_config
from models.placement import LONGEST, place
from models.unet import ClassConditionalUNet, UNetConfig

TINY_DIT = {"input_size": 8, "patch_size": 2, "hidden_size": 32, "depth": 3, "num_heads": 2, "num_classes": 10}
TINY_UNET = {
    "image_size": 8, "model_channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1, "attention_resolutions": (2,),
    "num_head_channels": 16, "context_dim": 16, "num_classes": 10,
}  # fmt: skip


class Calls(TorchFunctionMode):
    """Counts fused attention, and the softmax that attention by hand would take."""

    fused = softmax = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.fused += func is torch.nn.functional.scaled_dot_product_attention
        self.softmax += getattr(func, "__name__", "") == "softmax"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("network", "num"),
    [(DiTDenoiser(DiT(dit_config(**TINY_DIT))), 3), (UNetDenoiser(ClassConditionalUNet(UNetConfig(**TINY_UNET))), 8)],
    ids=["dit", "unet"],
)
def test_denoisers_use_fused_attention(network, num: int) -> None:
    timestep = torch.zeros(2, dtype=torch.long)
    with Calls() as calls, torch.inference_mode():
        network(torch.randn(2, 4, 8, 8), timestep, network.conditional(timestep))
    assert (calls.fused, calls.softmax) == (num, 0)


def test_autoencoders_use_fused_attention() -> None:
    config = {"block_out_channels": (32,), "norm_num_groups": 8, "sample_size": 8, "latent_channels": 4}
    for kind in (AutoencoderKL, VQModel):
        with Calls() as calls, torch.inference_mode():
            decode(kind(**config), torch.randn(1, 4, 8, 8))
        assert (calls.fused, calls.softmax) == (1, 0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_on_a_cpu_in_a_low_precision_attention_is_two_products(precision: str) -> None:
    torch.manual_seed(0)
    network, cpu = DiT(dit_config(**TINY_DIT)), torch.device("cpu")
    for values in network.parameters():
        values.data.normal_(std=0.1)
    timestep, latents = torch.tensor([3, 700]), torch.randn(2, 4, 8, 8)
    with torch.inference_mode():
        exact = DiTDenoiser(place(network, "float32", cpu))(latents, timestep, timestep % 10).eps
        with Calls() as calls:
            low = DiTDenoiser(place(network, precision, cpu))(latents, timestep, timestep % 10).eps
    assert (calls.fused, calls.softmax) == (0, 3)
    assert (low - exact).abs().max() < 0.02 * exact.abs().max()


def test_long_sequences_keep_fused_attention() -> None:
    side = 2 * (int(LONGEST**0.5) + 1)
    long = DiT(dit_config(**{**TINY_DIT, "input_size": side, "hidden_size": 16}))
    place(long, "bf16", torch.device("cpu"))
    assert all(block.attn.fused_attn for block in long.blocks)


def test_in_float32_on_a_cpu_nothing_is_arranged() -> None:
    """Where the order of sums must stay what it was."""
    torch.manual_seed(0)
    plain = AutoencoderKL(block_out_channels=(32,), norm_num_groups=8)
    assert place(plain, "float32", torch.device("cpu")).decoder.conv_in.weight.is_contiguous()
    arranged = place(plain, "bf16", torch.device("cpu")).decoder.conv_in.weight
    assert arranged.is_contiguous(memory_format=torch.channels_last)
    network = place(DiT(dit_config(**TINY_DIT)), "float32", torch.device("cpu"))
    assert all(block.attn.fused_attn for block in network.blocks)
