"""Candidates of a benchmark are measured under the same settings."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel

import benchmarks.regions
import benchmarks.sampler
from benchmarks.layout import measure
from benchmarks.sampler import _diffusers
from models.placement.precision import products
from tstitch.runs.timing import StageClock

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def tiny_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(8,), norm_num_groups=8, latent_channels=4).requires_grad_(False)


def allowed_in_diffusers(device: torch.device) -> set[tuple[bool, bool]]:
    """Whether TF32 was allowed in matrix products and convolutions, at each call of the network and of the decoder."""
    network = DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000, norm_elementwise_affine=False, norm_num_groups=1,
    )  # fmt: skip
    network, autoencoder, seen = network.to(device), tiny_autoencoder().to(device), set()
    for module in (network, autoencoder.decoder):
        module.register_forward_hook(
            lambda *_: seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        )
    setting = SimpleNamespace(device=device, batch_size=1, num_steps=2)
    _diffusers(network, autoencoder, setting, torch.float32)(StageClock(device))
    return seen


def test_diffusers_is_timed_without_tf32_too(monkeypatch) -> None:
    monkeypatch.setattr(benchmarks.sampler, "products", lambda precision, device: products(precision, CUDA))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # PyTorch's own setting, which extractors change
    assert allowed_in_diffusers(CPU) == {(False, False)}
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.gpu
def test_diffusers_is_timed_without_tf32_on_a_gpu() -> None:
    assert allowed_in_diffusers(CUDA) == {(False, False)}


def test_decoding_is_measured_in_both_layouts() -> None:
    decodings = measure(tiny_autoencoder(), batch_size=2, side=8, repeats=2, device=CPU)
    layouts = [
        f"{precision}, {layout}" for precision in ("float32", "bf16") for layout in ("contiguous", "channels_last")
    ]
    assert list(decodings) == layouts
    assert all(own.seconds > 0 and len(own.all_seconds) == 2 for own in decodings.values())
    assert decodings["float32, contiguous"].largest_difference == 0
    assert decodings["float32, channels_last"].largest_difference < 1e-4
    assert 0 < decodings["bf16, channels_last"].largest_difference < 0.1


def test_regions_are_measured_beside_the_whole_network() -> None:
    found = benchmarks.regions.measure("DiT-S/2", side=4, batch_size=1, repeats=1, device=CPU)
    assert found["tokens"] == 4
    assert list(found["seconds"]) == ["dense", *(f"{share:g}" for share in benchmarks.regions.SHARES)]
    assert found["memory_mb"] == 12 * 2 * 4 * 384 * 4 / 1e6, "keys and values of 12 blocks, 4 tokens of 384 float32"
