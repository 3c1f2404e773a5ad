"""How networks are arranged for speed: attention as one fused operation, flash where the device has it, and GELU."""

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from torch import nn
from torch.overrides import TorchFunctionMode

from models.autoencoder import decode
from models.denoisers import DiTDenoiser, UNetDenoiser
from models.networks.dit import DiT, dit_config
from models.networks.unet import ClassConditionalUNet, UNetConfig
from models.placement.place import LONGEST, FusedLinear, has_fused_linear, place
from models.placement.precision import DTYPES

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


@pytest.mark.skipif(not has_fused_linear(), reason="no products in bf16 with this CPU or build of PyTorch")
def test_in_bf16_on_a_cpu_a_gelu_is_nearer_the_exact_one() -> None:
    torch.manual_seed(0)
    plain, x = nn.Linear(192, 768), torch.randn(4, 16, 192)
    exact = nn.functional.gelu(plain(x), approximate="tanh")
    plain, x = plain.bfloat16(), x.bfloat16()
    with torch.inference_mode():
        apart = nn.functional.gelu(plain(x), approximate="tanh")
        fused = FusedLinear(plain, gelu=True)(x)
    assert (fused - exact).abs().mean() < (apart - exact).abs().mean() < 0.01


@pytest.mark.skipif(not has_fused_linear(), reason="no products in bf16 with this CPU or build of PyTorch")
def test_networks_with_fused_gelus_keep_their_keys() -> None:
    network, cpu = DiT(dit_config(**TINY_DIT)), torch.device("cpu")
    keys = list(network.state_dict())
    assert all(not isinstance(block.mlp.fc1, FusedLinear) for block in place(network, "float32", cpu).blocks)
    assert all(isinstance(block.mlp.fc1, FusedLinear) for block in place(network, "bf16", cpu).blocks)
    assert list(network.state_dict()) == keys


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
    meta = torch.device("meta")  # as on a GPU, where this layout is slower
    for precision in DTYPES:
        network = place(AutoencoderKL(block_out_channels=(32,), norm_num_groups=8), precision, meta)
        assert network.decoder.conv_in.weight.is_contiguous()
    network = place(DiT(dit_config(**TINY_DIT)), "float32", torch.device("cpu"))
    assert all(block.attn.fused_attn for block in network.blocks)
