import pytest
import torch

from models.denoisers import DiTDenoiser
from models.networks.dit import DiT, DiTConfig, dit_config, initialize_dit, sincos_position_embedding
from tstitch.errors import UserError
from tstitch.noise import ImageNoise

TINY = DiTConfig(input_size=8, patch_size=2, hidden_size=32, depth=2, num_heads=2, num_classes=10)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("DiT-S/2", 33.0), ("DiT-B/2", 130.5), ("DiT-XL/2", 675.1)],  # paper, table 3
)
def test_presets_have_the_papers_parameter_counts(preset: str, millions: float) -> None:
    with torch.device("meta"):
        network = DiT(dit_config(preset, input_size=32))
    counted = sum(value.numel() for value in network.state_dict().values())  # the paper counts the position table
    assert round(counted / 1e6, 1) == millions


@pytest.mark.parametrize("preset", ["DiT-S/4", "DiT-L/8", "DiT-XL/4"])
def test_every_patch_size_keeps_the_shape_of_the_latents(preset: str) -> None:
    config = dit_config(preset, input_size=64)
    with torch.device("meta"):
        network = DiT(config)
        output = network(torch.zeros(1, 4, 64, 64), torch.zeros(1), torch.zeros(1, dtype=torch.long))
    assert output.shape == (1, 8, 64, 64)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="'DiT-H/2'; known: DiT-S/2, DiT-S/4"):
        dit_config("DiT-H/2", input_size=32)


def test_position_embedding_separates_columns_from_rows() -> None:
    table = sincos_position_embedding(16, 3).view(3, 3, 16)
    assert torch.equal(table[0, 1, :8], table[2, 1, :8])  # the first half knows the column only
    assert torch.equal(table[1, 0, 8:], table[1, 2, 8:])  # the second half the row only
    assert table[0, 2, 0].item() == pytest.approx(torch.sin(torch.tensor(2.0)).item())
    assert table[0, 2, 4].item() == pytest.approx(torch.cos(torch.tensor(2.0)).item())


def test_a_fresh_network_predicts_zero() -> None:
    network = DiT(TINY)
    initialize_dit(network)
    assert not network(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 9])).any()


def test_adapter_splits_eps_from_variance_and_knows_the_null_class() -> None:
    torch.manual_seed(0)
    network = DiT(TINY).to(torch.bfloat16)
    denoiser = DiTDenoiser(network)
    prediction = denoiser(torch.randn(2, 4, 8, 8), torch.tensor([5, 5]), torch.tensor([0, 1]))
    assert prediction.eps.shape == prediction.variance.shape == (2, 4, 8, 8)
    assert prediction.eps.dtype == torch.float32
    assert denoiser.unconditional(torch.tensor([0, 1]), ImageNoise(0, [0, 1]), 0).tolist() == [10, 10]
    plain = DiTDenoiser(DiT(DiTConfig(8, 2, 32, 1, 2, 10, learn_sigma=False)))
    assert plain(torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.tensor([0])).variance is None
