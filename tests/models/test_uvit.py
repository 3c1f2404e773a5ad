"""U-ViT against its formulas, written out once more from the paper (section 3, appendix F) in double precision."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.denoisers import UViTDenoiser
from models.networks.uvit import UViT, UViTConfig, initialize_uvit, uvit_config
from models.pair import denoiser_spec, load_denoiser
from tests.published.uvit import uvit_state, write_uvit
from training.denoisers import _task
from training.latents import LatentImages
from tstitch.errors import UserError
from tstitch.noise import ImageNoise

TINY = UViTConfig(input_size=8, patch_size=2, hidden_size=24, depth=4, num_heads=3, num_classes=10, conv=True)


def expected(state: dict[str, Tensor], config: UViTConfig, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The prediction, patch by patch and head by head."""
    state = {key: value.double() for key, value in state.items()}
    width, heads, p = config.hidden_size, config.num_heads, config.patch_size
    side, size = config.input_size // p, config.hidden_size // config.num_heads

    def linear(name: str, h: Tensor) -> Tensor:
        out = torch.einsum("nld,ed->nle", h, state[f"{name}.weight"])
        return out + state[f"{name}.bias"] if f"{name}.bias" in state else out

    def norm(name: str, h: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def block(name: str, h: Tensor) -> Tensor:
        qkv = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", h))
        attended = []
        for head in range(heads):
            q, k, v = (qkv[..., part * width + head * size : part * width + (head + 1) * size] for part in range(3))
            weights = (q @ k.transpose(1, 2) / math.sqrt(size)).softmax(dim=-1)
            attended.append(weights @ v)
        h = h + linear(f"{name}.attn.proj", torch.cat(attended, dim=-1))
        inner = linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", h))
        gelu = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        return h + linear(f"{name}.mlp.fc2", gelu)

    kernel = state["patch_embed.proj.weight"]
    patches = [
        torch.einsum("ncij,dcij->nd", x[:, :, p * r : p * r + p, p * c : p * c + p].double(), kernel)
        for r in range(side)
        for c in range(side)
    ]
    tokens = torch.stack(patches, dim=1) + state["patch_embed.proj.bias"]
    angles = t.double()[:, None] * 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    time = torch.cat([angles.cos(), angles.sin()], dim=-1)
    h = torch.cat([state["label_emb.weight"][y][:, None], time[:, None], tokens], dim=1) + state["pos_embed"]
    kept = []
    for index in range(config.depth // 2):
        h = block(f"in_blocks.{index}", h)
        kept.append(h)
    h = block("mid_block", h)
    for index in range(config.depth // 2):
        name = f"out_blocks.{index}"
        h = block(name, linear(f"{name}.skip_linear", torch.cat([h, kept[-1 - index]], dim=-1)))
    out = linear("decoder_pred", norm("norm", h))[:, 2:]
    image = torch.zeros(len(x), config.in_channels, config.input_size, config.input_size, dtype=torch.float64)
    for position in range(side * side):
        r, c = divmod(position, side)
        patch = out[:, position].reshape(len(x), p, p, config.in_channels)
        image[:, :, p * r : p * r + p, p * c : p * c + p] = patch.permute(0, 3, 1, 2)
    if config.conv:
        return F.conv2d(image, state["final_layer.weight"], state["final_layer.bias"], padding=1)
    return image


@pytest.mark.parametrize("conv", [True, False])
def test_it_computes_the_published_formulas(conv: bool) -> None:
    config = UViTConfig(**{**vars(TINY), "conv": conv})
    state = uvit_state(config)
    network = UViT(config).eval()
    network.load_state_dict(state)
    x, t, y = torch.randn(3, 4, 8, 8), torch.tensor([1.0, 430.25, 1000.0]), torch.tensor([0, 7, 10])
    assert torch.allclose(network(x, t, y).double(), expected(state, config, x, t, y), atol=1e-4)
    assert torch.allclose(network.double()(x.double(), t, y), expected(state, config, x, t, y), atol=1e-5)


def test_the_preset_has_the_published_size() -> None:
    with torch.device("meta"):
        network = UViT(uvit_config("U-ViT-H/2", input_size=32))
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(501, abs=0.5)  # table 1
    with pytest.raises(UserError, match="'U-ViT-X/2'; known: U-ViT-H/2"):
        uvit_config("U-ViT-X/2", input_size=32)


def test_a_published_file_loads_and_its_timesteps_count_from_one(tmp_path: Path) -> None:
    path = write_uvit(tmp_path / "uvit.pth", TINY)
    config = {key: value for key, value in vars(TINY).items() if key != "mlp_ratio"}
    schedule = {"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    denoiser = load_denoiser(
        denoiser_spec("u", "uvit", path, config, schedule=schedule), "float32", torch.device("cpu")
    )
    assert isinstance(denoiser, UViTDenoiser)
    x, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 4])
    prediction = denoiser(x, torch.tensor([0, 999]), y)
    assert torch.allclose(
        prediction.eps.double(), expected(uvit_state(TINY), TINY, x, torch.tensor([1, 1000]), y), atol=1e-4
    )
    assert prediction.variance is None
    assert denoiser.unconditional(y, ImageNoise(0, [0, 1]), 0).tolist() == [10, 10]


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    path = write_uvit(tmp_path / "uvit.pth", TINY)
    wider = {**vars(TINY), "hidden_size": 30}
    with pytest.raises(UserError, match=r"uvit\.pth"):
        load_denoiser(denoiser_spec("u", "uvit", path, wider), "float32", torch.device("cpu"))


def test_a_fresh_network_is_small() -> None:
    network = UViT(TINY)
    initialize_uvit(network)
    assert network(torch.randn(2, 4, 8, 8), torch.ones(2), torch.tensor([0, 9])).std() < 0.5


def test_it_is_trained_at_the_timesteps_that_it_is_sampled_at() -> None:
    """Its network counts timesteps from 1; the schedule, and with it the trainer, from 0."""
    torch.manual_seed(0)
    denoiser, seen = UViTDenoiser(UViT(TINY)), []
    denoiser.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].tolist()))
    latents, timestep, labels = torch.zeros(2, 4, 8, 8), torch.tensor([5, 5]), torch.tensor([1, 2])
    denoiser(latents, timestep, labels)
    data = LatentImages(latents, latents, labels, 10)
    own = SimpleNamespace(
        device=torch.device("cpu"),
        recipe={
            "timesteps": [5, 6], "snr_gamma": None, "high_noise_weight": 0.0, "variational_weight": 1.0,
            "class_dropout_prob": 0.1,
        },
    )  # fmt: skip
    _task(own, denoiser, data, {"kind": "linear"}).loss(2, torch.Generator().manual_seed(0))
    assert seen == [[6, 6], [6, 6]]
