import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.pair import check_denoisers, denoiser_spec, load_pair
from models.weights.read import check_state, load_weights, read_state_dict
from tests.conftest import ROOT
from tstitch.errors import UserError

TINY = {"input_size": 8, "patch_size": 2, "hidden_size": 32, "depth": 1, "num_heads": 2, "num_classes": 10}
AUTOENCODER = AutoencoderSpec("digits", "kl", ROOT / "models/zoo/digits/autoencoder")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def load(path: Path) -> nn.Module:
    loaded = network()
    with torch.no_grad():
        loaded[0].weight.zero_()
    load_weights(loaded, path)
    return loaded


@pytest.mark.parametrize("layout", ["safetensors", "pt", "pt under ema"])
def test_every_layout_loads_the_same_weights(tmp_path: Path, layout: str) -> None:
    state, path = network().state_dict(), tmp_path / "weights.pt"
    if layout == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    else:
        torch.save(state if layout == "pt" else {"ema": state, "opt": {}, "args": {"lr": 1}}, path)
    loaded = load(path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("missing", "do not exist"),
        ("truncated", "truncated, or of another kind"),
        ("text", "truncated, or of another kind"),
        ("pickle", "truncated, or of another kind"),
        ("key missing", "lack the key '0.bias'"),
        ("key too many", "unexpected key 'head.weight'"),
        ("shape", r"'0.weight' has shape \(2, 4\), want \(2, 3\)"),
        ("nan", "'0.weight' holds NaN or Inf"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bad_files_are_one_clear_error(tmp_path: Path, monkeypatch, content: str, message: str, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    path, state = tmp_path / f"weights{suffix}", network().state_dict()
    if content == "key missing":
        del state["0.bias"]
    if content == "key too many":
        state["head.weight"] = torch.zeros(1)
    if content == "shape":
        state["0.weight"] = torch.zeros(2, 4)
    if content == "nan":
        state["0.weight"][1, 2] = torch.nan
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    if content == "missing":
        path.unlink()
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if content == "text":
        path.write_text("these are not the weights you are looking for")
    if content == "pickle":
        path.write_bytes(pickle.dumps({"0.weight": Exploit()}))
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"ema": {"step": 1}}])
def test_a_file_without_state_dict_is_one_clear_error(tmp_path: Path, content) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="hold no state dict"):
        load(tmp_path / "weights.pt")


def test_only_the_denoisers_in_use_are_read(tmp_path: Path) -> None:
    from models.networks.dit import DiT, dit_config

    torch.manual_seed(0)
    torch.save(DiT(dit_config(**TINY)).state_dict(), tmp_path / "small.pt")
    specs = [
        denoiser_spec("small", "dit", tmp_path / "small.pt", TINY),
        denoiser_spec("large", "dit", tmp_path / "nowhere.pt", TINY),
    ]
    pair = load_pair(specs, {0}, AUTOENCODER, ["float32"] * 2, torch.device("cpu"))
    assert pair.denoisers[1] is None
    assert pair.denoisers[0].network.training is False
    with pytest.raises(UserError, match=r"nowhere\.pt do not exist"):
        load_pair(specs, {0, 1}, AUTOENCODER, ["float32"] * 2, torch.device("cpu"))


def test_denoisers_of_a_pair_share_latents_and_classes(tmp_path: Path) -> None:
    specs = [
        denoiser_spec("small", "dit", tmp_path, TINY),
        denoiser_spec("large", "dit", tmp_path, {**TINY, "num_classes": 1000}),
    ]
    with pytest.raises(UserError, match="large has num_classes 1000, but small has 10"):
        check_denoisers(specs)


def test_autoencoder_folder_of_diffusers_loads_as_diffusers_loads_it(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    made = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    for safe in (True, False):
        folder = tmp_path / str(safe)
        made.save_pretrained(folder, safe_serialization=safe)
        ours, theirs = (
            load_autoencoder(AutoencoderSpec("made", "kl", folder)),
            AutoencoderKL.from_pretrained(folder, use_safetensors=safe),
        )
        assert ours.config.scaling_factor == 0.18215
        latents = torch.randn(1, 4, 4, 4)
        assert torch.equal(ours.decode(latents).sample, theirs.decode(latents).sample)


def test_autoencoder_folder_without_config_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layout of diffusers"):
        load_autoencoder(AutoencoderSpec("none", "kl", tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_autoencoder(AutoencoderSpec("none", "kl", tmp_path))


def test_reading_gives_plain_tensors(tmp_path: Path) -> None:
    torch.save({"ema": network().state_dict()}, tmp_path / "w.pt")
    assert set(read_state_dict(tmp_path / "w.pt")) == set(network().state_dict())


def test_weights_in_eight_bits_are_checked(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    state = {key: value.to(torch.float8_e4m3fn) for key, value in network.state_dict().items()}
    check_state(network, state, tmp_path / "a.safetensors")
    state["bias"] = torch.full((2,), torch.nan).to(torch.float8_e4m3fn)
    with pytest.raises(UserError, match="'bias' holds NaN or Inf"):
        check_state(network, state, tmp_path / "a.safetensors")
