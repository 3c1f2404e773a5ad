"""Dress rehearsal: full-size random checkpoints in the official layouts, through the very commands of the README."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.dit import DiT, dit_config
from models.unet import ClassConditionalUNet, UNetConfig
from models.vq import VQConfig, make_vq_model
from tests.evaluation.inception import make_inception
from tests.models.original import original_unet_state, original_vq_state
from tests.scripts.command import PYTHON, run

LDM = {
    "image_size": 32,
    "channel_mult": (1, 2, 4),
    "num_res_blocks": 2,
    "attention_resolutions": (4, 2, 1),
    "num_head_channels": 32,
    "num_classes": 1000,
}
VQ_F8 = VQConfig(4, 16384, 4, 256, 128, (1, 2, 2, 4), 2, (32,))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Inception and reference statistics with random values, in the published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    make_inception(folder / "inception.pth")
    features = np.random.default_rng(0).normal(size=(4096, 2048))
    np.savez(folder / "reference.npz", mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    return folder


def report_size(name: str, network: nn.Module, *inputs: torch.Tensor) -> None:
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(*inputs)
    parameters = sum(value.numel() for value in network.state_dict().values())
    print(f"{name}: {parameters / 1e6:.1f} M parameters, {counter.get_total_flops() / 2e9:.1f} GMACs a forward")


def make_dit(folder: Path) -> list[str]:
    from diffusers import AutoencoderKL

    x, t, y = torch.randn(1, 4, 32, 32), torch.tensor([500.0]), torch.tensor([3])
    for size in ("S", "XL"):
        network = DiT(dit_config(f"DiT-{size}/2", input_size=32)).eval()
        report_size(f"DiT-{size}/2", network, x, t, y)
        torch.save({"ema": network.state_dict()} if size == "S" else network.state_dict(), folder / f"{size}.pt")
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "sd-vae")  # fmt: skip
    return [
        "pair=dit_s_xl",
        f"pair.denoisers.s.path={folder / 'S.pt'}",
        f"pair.denoisers.xl.path={folder / 'XL.pt'}",
        f"pair.autoencoder.path={folder / 'sd-vae'}",
    ]


def make_ldm(folder: Path) -> list[str]:
    x, t = torch.randn(1, 4, 32, 32), torch.tensor([500])
    for name, width, context in (("LDM-S", 64, 256), ("LDM", 256, 512)):
        network = ClassConditionalUNet(UNetConfig(model_channels=width, context_dim=context, **LDM)).eval()
        report_size(name, network, x, t, torch.randn(1, 1, context))
        torch.save({"state_dict": original_unet_state(network), "epoch": 1}, folder / f"{name}.ckpt")
    torch.save({"state_dict": original_vq_state(make_vq_model(VQ_F8))}, folder / "vq-f8.ckpt")
    return [
        "pair=ldm_s_ldm",
        f"pair.denoisers.ldm_s.path={folder / 'LDM-S.ckpt'}",
        f"pair.denoisers.ldm.path={folder / 'LDM.ckpt'}",
        f"pair.autoencoder.path={folder / 'vq-f8.ckpt'}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_dit, make_ldm])
def test_full_size_checkpoints_sample_and_score(weights: Path, tmp_path: Path, make) -> None:
    torch.manual_seed(0)
    out, pair = tmp_path / "out", make(tmp_path)
    settings = ["stitch.fractions=[0.5,0.5]", "sampler.num_steps=4", "num_images=2", "batch_size=2"]
    extractor = [f"extractor_weights={weights / 'inception.pth'}", f"reference={weights / 'reference.npz'}"]
    sampled = run(*PYTHON, "-m", "scripts.sample", *pair, *settings, f"out={out}")
    assert sampled.code == 0, sampled.err
    assert "takes 2 steps" in sampled.out
    with np.load(out / "samples.npz") as samples:
        assert samples["arr_0"].shape == (2, 256, 256, 3)
        assert samples["arr_0"].std() > 0
    scored = run(*PYTHON, "-m", "scripts.evaluate", f"run={out}", *extractor, "metrics=[fid,inception_score]")
    assert scored.code == 0, scored.err
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    assert np.isfinite(metrics["fid2"])
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of a command: {peak_gib:.1f} GiB")
    assert peak_gib < 16
