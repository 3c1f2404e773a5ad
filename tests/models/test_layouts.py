"""Files in the official layouts, made here, load to the very networks they hold."""

import os
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel, VQModel
from safetensors.torch import load_file, save_file

from checkpoints.read import all_tensors_of, read_checkpoint
from models.autoencoder import AutoencoderSpec, decode, load_autoencoder
from models.denoisers import UNetDenoiser
from models.networks.unet import ClassConditionalUNet, UNetConfig
from models.networks.vq import VQConfig, make_vq_model
from models.pair import denoiser_spec, load_denoiser
from models.weights.actions import convert
from tests.models.original import original_unet_state, original_vq_state
from tstitch.errors import UserError
from tstitch.noise import ImageNoise

CPU = torch.device("cpu")
UNET = {
    "image_size": 8,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [2],
    "num_head_channels": 16,
    "context_dim": 16,
    "num_classes": 10,
}
VQ = {
    "embed_dim": 4,
    "n_embed": 16,
    "z_channels": 4,
    "resolution": 16,
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [8],
}
DIT = {"input_size": 8, "patch_size": 2, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 10}


@pytest.fixture
def ldm(tmp_path: Path) -> tuple[ClassConditionalUNet, Path]:
    """A network, and a checkpoint with it as raw weights, zeros as the average, and the rest of a Lightning file."""
    torch.manual_seed(0)
    network = ClassConditionalUNet(UNetConfig(**UNET)).eval()
    raw = original_unet_state(network)
    unet = {key.removeprefix("model."): value for key, value in raw.items() if key.startswith("model.")}
    averaged = {f"model_ema.{key.replace('.', '')}": torch.zeros_like(value) for key, value in unet.items()}
    state = {
        **raw,
        **averaged,
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(1),
        "betas": torch.zeros(1000),
        "first_stage_model.quant_conv.bias": torch.zeros(4),
    }
    torch.save({"state_dict": state, "epoch": 3, "global_step": 17}, tmp_path / "ldm.ckpt")
    return network, tmp_path / "ldm.ckpt"


def test_ldm_checkpoint_raw_and_averaged(ldm) -> None:
    network, path = ldm
    labels, noise = torch.tensor([1, 2]), ImageNoise(0, [0, 1])
    x, t = noise.latents((4, 8, 8)), torch.tensor([5, 5])
    raw = load_denoiser(denoiser_spec("ldm", "ldm", path, UNET), "float32", CPU)
    original = UNetDenoiser(network)
    with torch.inference_mode():
        assert torch.equal(raw(x, t, raw.conditional(labels)).eps, original(x, t, original.conditional(labels)).eps)
        averaged = load_denoiser(denoiser_spec("ldm", "ldm", path, UNET, ema=True), "float32", CPU)
        assert not averaged(x, t, averaged.conditional(labels)).eps.any()
    assert raw.unconditional(labels, noise, 0).shape == (2, 1, 16)
    assert not torch.equal(raw.unconditional(labels, noise, 0), raw.unconditional(labels, noise, 1))


def test_ldm_checkpoint_without_averages_says_so(ldm, tmp_path: Path) -> None:
    state = torch.load(ldm[1], weights_only=True)["state_dict"]
    torch.save({k: v for k, v in state.items() if not k.startswith("model_ema.")}, tmp_path / "raw.ckpt")
    with pytest.raises(UserError, match="use ema=false for the raw ones"):
        load_denoiser(denoiser_spec("ldm", "ldm", tmp_path / "raw.ckpt", UNET, ema=True), "float32", CPU)
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not an LDM checkpoint"):
        load_denoiser(denoiser_spec("ldm", "ldm", tmp_path / "other.ckpt", UNET), "float32", CPU)


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_vq_checkpoint_and_diffusers_folder(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(0)
    model = make_vq_model(VQConfig(**VQ)).eval()
    state = {f"{prefix}{key}": value for key, value in original_vq_state(model).items()}
    torch.save({"state_dict": state}, tmp_path / "vq.ckpt")
    model.save_pretrained(tmp_path / "folder")
    latents = torch.randn(2, 4, 8, 8)
    with torch.inference_mode():
        image = model.decode(latents).sample
        for path, config in ((tmp_path / "vq.ckpt", VQ), (tmp_path / "folder", None)):
            loaded = load_autoencoder(AutoencoderSpec("vq", "vq", path, config))
            assert isinstance(loaded, VQModel)
            assert torch.equal(decode(loaded, latents), image)


def test_dit_folder_of_diffusers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10,
    ).eval()  # fmt: skip
    embedders = [block.norm1.emb for block in theirs.transformer_blocks]
    embedders[1].load_state_dict(embedders[0].state_dict())  # the released conversion repeats them
    for embedder in embedders:
        # diffusers divides the frequencies by 127 where the original has 128; ours is the original's.
        assert embedder.time_proj.downscale_freq_shift == 1
        embedder.time_proj.downscale_freq_shift = 0
    theirs.save_pretrained(tmp_path / "dit")
    ours = load_denoiser(denoiser_spec("dit", "dit", tmp_path / "dit", DIT), "float32", CPU)
    x, t, labels = torch.randn(2, 4, 8, 8), torch.tensor([7, 7]), torch.tensor([3, 10])
    with torch.inference_mode():
        expected = theirs(x, t, class_labels=labels).sample
        prediction = ours(x, t, labels)
    assert torch.allclose(torch.cat(prediction, dim=1), expected, atol=1e-5)


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="family of denoisers 'gan'; known: dit, ldm"):
        denoiser_spec("x", "gan", tmp_path, {})
    with pytest.raises(UserError, match="kind of autoencoder 'jpeg'; known: kl, vq"):
        AutoencoderSpec("x", "jpeg", tmp_path)


class Callback:
    """Stands for what old Lightning checkpoints hold beside tensors."""

    def __init__(self) -> None:
        self.best = {"model_checkpoint": [1, 2, 3]}


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "extra", [Callback(), Exploit(), {"a": {Callback: Exploit()}}], ids=["callback", "exploit", "nested"]
)
def test_convert_keeps_tensors_and_runs_nothing(tmp_path: Path, monkeypatch, legacy: bool, extra) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"a.weight": torch.randn(3, 2), "b": torch.arange(4), "tied": torch.zeros(2)}
    state["tied too"] = state["tied"]
    content = {"state_dict": state, "callbacks": extra, "epoch": 3}
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=not legacy)
    convert(tmp_path / "old.ckpt", tmp_path / "new.safetensors")
    converted = load_file(tmp_path / "new.safetensors")
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[key], value) for key, value in state.items())
    assert not (tmp_path / "exploited").exists()
    assert read_checkpoint(tmp_path / "old.ckpt", all_tensors_of).keys() == state.keys()


def test_bad_sources_of_a_conversion(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    for source, destination, message in [
        ("none.ckpt", "x.safetensors", "does not exist"),
        ("text.ckpt", "x.safetensors", "not a checkpoint of PyTorch"),
        ("empty.ckpt", "x.safetensors", "holds no tensors"),
        ("empty.ckpt", "x.pt", "must end in .safetensors"),
    ]:
        with pytest.raises(UserError, match=message):
            convert(tmp_path / source, tmp_path / destination)
