"""Parameters and operations of the paper's networks (tables 3 and 4), counted without their weights."""

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from models.networks.dit import DiT
from models.networks.unet import ClassConditionalUNet
from models.pair import denoiser_spec
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "millions", "giga_macs"),
    [("dit_s", 33.0, 5.5), ("dit_b", 130.5, 21.8), ("dit_xl", 675.1, 114.5), ("ldm_s", 25, None), ("ldm", 394, None)],
)
def test_sizes_are_the_papers(name: str, millions: float, giga_macs: float | None) -> None:
    entry = yaml.safe_load((ROOT / f"configs/denoiser/{name}.yaml").read_text())
    del entry["defaults"]
    spec = denoiser_spec(**entry)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        network = DiT(spec.config) if spec.family == "dit" else ClassConditionalUNet(spec.config)
        x, t, y = torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.long)
        with counter:
            network(x, t, y if spec.family == "dit" else network.embedding(y)[:, None])
    parameters = sum(value.numel() for value in network.state_dict().values()) / 1e6
    assert parameters == pytest.approx(millions, abs=0.05 if spec.family == "dit" else 2.0)
    if giga_macs is not None:
        # The paper's GFLOPs are multiply-accumulates (the counter counts two operations for each) and
        # leave out attention's two products of tokens with tokens.
        attention = spec.config.depth * 2 * 256**2 * spec.config.hidden_size
        assert (counter.get_total_flops() / 2 - attention) / 1e9 == pytest.approx(giga_macs, rel=0.01)
