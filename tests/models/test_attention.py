"""Attention runs as one fused operation, flash where the device has it, in every kind of network."""

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from torch.overrides import TorchFunctionMode

from models.autoencoder import decode
from models.denoisers import DiTDenoiser, UNetDenoiser
from models.dit import DiT, dit_config
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
