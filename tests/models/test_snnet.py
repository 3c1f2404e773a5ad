"""Networks that are stitched in their middle: where an exact layer exists, least squares finds it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.denoisers import SNNetDenoiser
from models.networks.dit import DiT, DiTConfig, initialize_dit
from models.networks.snnet import SNNet, SNNetConfig, join, tokens_before
from models.pair import denoiser_spec, load_denoiser
from tstitch.errors import UserError

WIDE = DiTConfig(input_size=8, patch_size=2, hidden_size=32, depth=4, num_heads=2, num_classes=10)
NARROW = DiTConfig(input_size=8, patch_size=2, hidden_size=16, depth=2, num_heads=2, num_classes=10)


def trained(config: DiTConfig, seed: int) -> DiT:
    """A network whose every part says something, as after training."""
    torch.manual_seed(seed)
    network = DiT(config)
    initialize_dit(network)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def batch(num: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 4, 8, 8, generator=generator)
    return x, torch.randint(1000, (num,), generator=generator), torch.randint(11, (num,), generator=generator)


@pytest.mark.parametrize("block", [0, 1, 2])
@torch.no_grad()
def test_a_network_stitched_with_itself_is_itself(block: int) -> None:
    network, held_out = trained(WIDE, 0), batch(seed=1)
    stitched = join(SNNetConfig(WIDE, WIDE, block), network, network, *batch())
    assert stitched.config.following == block + 1
    assert torch.allclose(stitched(*held_out), network(*held_out), atol=1e-3)


@torch.no_grad()
def test_the_layer_is_the_best_linear_one() -> None:
    small, large = trained(NARROW, 0), trained(WIDE, 1)
    config = SNNetConfig(NARROW, WIDE, 0)
    assert (config.stride, config.following, config.num_stitches) == (2, 2, 1)
    stitched = join(config, small, large, *batch())
    wanted, inputs = tokens_before(large, *batch(), 2), stitched.first_tokens(*batch())
    error = (stitched.stitch(inputs) - wanted).square().mean()
    assert torch.allclose((stitched.stitch(inputs) - wanted).mean(dim=(0, 1)), torch.zeros(32), atol=1e-4)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        other = stitched.stitch.weight + 0.01 * torch.randn(32, 16, generator=generator)
        assert (inputs @ other.T + stitched.stitch.bias - wanted).square().mean() > error


def test_it_has_the_parts_of_both_and_no_others(tmp_path: Path) -> None:
    config = SNNetConfig(NARROW, WIDE, 0)
    network = join(config, trained(NARROW, 0), trained(WIDE, 1), *batch())
    assert len(network.small.blocks) == 1
    assert len(network.large.blocks) == 2
    names = {key.split(".")[1] for key in network.state_dict() if key.startswith("small.")}
    assert "final_layer" not in names
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "s.safetensors")
    shapes = {"small": vars(NARROW), "large": vars(WIDE), "block": 0}
    spec = denoiser_spec("stitched", "snnet", tmp_path / "s.safetensors", shapes)
    denoiser = load_denoiser(spec, "float32", torch.device("cpu"))
    assert isinstance(denoiser, SNNetDenoiser)
    with torch.no_grad():
        prediction, expected = denoiser(*batch()), network(*batch())
    assert torch.equal(torch.cat(prediction, dim=1), expected)


@pytest.mark.parametrize("block", [1, 2, -1])
def test_a_block_without_a_follower_is_named(block: int) -> None:
    with pytest.raises(UserError, match=rf"block must lie in 0\.\.0, got {block}"):
        SNNet(SNNetConfig(NARROW, WIDE, block))
