"""Files in the byte format and key names of their time load, to what the projects that published them make of them."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DiTPipeline, DiTTransformer2DModel, VQModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

from models.autoencoder import AutoencoderSpec, decode, load_autoencoder
from models.networks.dit import DiTConfig, dit_config
from models.pair import DenoiserSpec, load_denoiser
from tests.conftest import ROOT
from tests.published.diffusers_folders import SMALL_AUTOENCODER, write_autoencoder, write_dit_pipeline, write_vq_folder
from tests.published.dit import dit_state, write_dit, write_dit_training, write_dit_under_ema
from tests.published.ldm import ldm_state, write_ldm
from tests.published.manifest import SMALL_LDM, SMALL_VQ, WRITERS, small_dit
from tests.published.torch_files import save
from tests.published.vq import vq_state, write_vq, write_vq_archive
from tstitch.errors import UserError

CPU = torch.device("cpu")
SMALL_DIT = small_dit(dit_config("DiT-XL/2", input_size=32))
LATENTS = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def kl(folder: Path) -> AutoencoderSpec:
    return AutoencoderSpec("sd", "kl", folder)


def vq(path: Path) -> AutoencoderSpec:
    return AutoencoderSpec("vq", "vq", path, vars(SMALL_VQ))


def dit(path: Path, config: DiTConfig = SMALL_DIT) -> DenoiserSpec:
    return DenoiserSpec("dit", "dit", config, path)


def test_each_entry_of_the_manifest_has_a_writer() -> None:
    entries = yaml.safe_load((ROOT / "configs/weights.yaml").read_text())
    assert {name.removesuffix("_config") for name in entries} <= WRITERS.keys()


@pytest.mark.parametrize("of_2022", [True, False], ids=["2022", "today"])
@pytest.mark.parametrize("formats", [("bin",), ("safetensors",), ("bin", "safetensors")], ids="+".join)
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_an_autoencoder_loads_as_diffusers_loads_it(tmp_path: Path, of_2022: bool, formats, legacy: bool) -> None:
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, formats, of_2022, legacy=legacy)
    ours = load_autoencoder(kl(tmp_path))
    theirs = AutoencoderKL.from_pretrained(tmp_path, local_files_only=True, use_safetensors="safetensors" in formats)
    assert ours.config.scaling_factor == theirs.config.scaling_factor == 0.18215
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(decode(ours, LATENTS), theirs.decode(LATENTS / 0.18215).sample)


def test_safetensors_are_read_where_both_formats_are_there(tmp_path: Path) -> None:
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, ("safetensors",), seed=1)
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, ("bin",), seed=2)
    spec = kl(tmp_path)
    assert spec.weights.suffix == ".safetensors"
    assert spec.files == [tmp_path / "config.json", spec.weights]
    stored = load_file(spec.weights)["decoder.conv_in.weight"]
    assert torch.equal(load_autoencoder(spec).decoder.conv_in.weight, stored)


def test_attention_of_1x1_convolutions_loads_as_linear_layers(tmp_path: Path) -> None:
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, ("safetensors",))
    path, linear = tmp_path / "diffusion_pytorch_model.safetensors", load_autoencoder(kl(tmp_path))
    state = load_file(path)
    parts = [key for key in state if ".attentions." in key and state[key].ndim == 2]
    assert len(parts) == 8
    save_file({key: value[..., None, None] if key in parts else value for key, value in state.items()}, path)
    assert torch.equal(decode(load_autoencoder(kl(tmp_path)), LATENTS), decode(linear, LATENTS))


@pytest.mark.parametrize("of_2022", [True, False], ids=["2022", "today"])
@pytest.mark.parametrize("formats", [("bin",), ("safetensors",)], ids="+".join)
def test_a_vq_folder_loads_as_diffusers_loads_it(tmp_path: Path, of_2022: bool, formats) -> None:
    write_vq_folder(tmp_path, SMALL_VQ, formats, of_2022)
    ours = load_autoencoder(AutoencoderSpec("vq", "vq", tmp_path))
    theirs = VQModel.from_pretrained(tmp_path, local_files_only=True, use_safetensors=formats == ("safetensors",))
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in theirs.state_dict().items())
    # The latents of a VQModel of 2022 are not scaled: the setting is younger.
    with torch.inference_mode():
        assert torch.equal(decode(ours, LATENTS), theirs.decode(LATENTS).sample)


@pytest.mark.parametrize("folder", ["", "vq-f8/"])
def test_the_vq_checkpoint_inside_its_archive_loads(tmp_path: Path, folder: str) -> None:
    archive = write_vq_archive(tmp_path / "vq-f8.zip", SMALL_VQ, folder=folder)
    with zipfile.ZipFile(archive) as file:
        file.extract(f"{folder}model.ckpt", tmp_path)
    loaded = load_autoencoder(vq(tmp_path / folder / "model.ckpt")).state_dict()
    with pytest.raises(UserError, match=r"vq-f8\.zip cannot be read .* 0 data\.pkl"):
        load_autoencoder(vq(archive))
    original = vq_state(SMALL_VQ)
    # diffusers' own conversion knows no codebook, and no attention outside the middle, which this model has too.
    theirs = convert_ldm_vae_checkpoint(original, {"down_block_types": [0] * 4, "up_block_types": [0] * 4})
    known = {key: value for key, value in theirs.items() if key in loaded}
    assert len(known) > 100
    assert all(torch.equal(loaded[key], value) for key, value in known.items())
    assert torch.equal(loaded["quantize.embedding.weight"], original["quantize.embedding.weight"])
    assert torch.equal(
        loaded["encoder.down_blocks.3.attentions.0.to_q.weight"], original["encoder.down.3.attn.0.q.weight"][..., 0, 0]
    )


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("ema", [True, False], ids=["averaged", "raw"])
def test_an_ldm_checkpoint_loads_as_diffusers_converts_it(tmp_path: Path, legacy: bool, ema: bool) -> None:
    path = write_ldm(tmp_path / "ldm.ckpt", SMALL_LDM, SMALL_VQ, legacy=legacy)
    network = load_denoiser(DenoiserSpec("ldm", "ldm", SMALL_LDM, path, ema), "float32", CPU).network
    original = ldm_state(SMALL_LDM, SMALL_VQ)
    theirs = convert_ldm_unet_checkpoint(dict(original), {"layers_per_block": SMALL_LDM.num_res_blocks}, ema)
    ours = network.unet.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert torch.equal(network.embedding.weight, original["cond_stage_model.embedding.weight"])


def test_the_first_stage_of_an_ldm_checkpoint_loads(tmp_path: Path) -> None:
    path = write_ldm(tmp_path / "ldm.ckpt", SMALL_LDM, SMALL_VQ)
    alone = load_autoencoder(vq(write_vq(tmp_path / "vq.ckpt", SMALL_VQ, legacy=True)))
    assert torch.equal(decode(load_autoencoder(vq(path)), LATENTS), decode(alone, LATENTS))


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("layout", ["plain", "ema", "training", "model"])
def test_a_dit_checkpoint_loads(tmp_path: Path, layout: str, legacy: bool) -> None:
    path, state = tmp_path / "dit.pt", dit_state(SMALL_DIT, seed=5)
    if layout == "training":
        write_dit_training(path, SMALL_DIT, seed=5, legacy=legacy)
    elif legacy:
        save({"plain": state, "ema": {"ema": state}, "model": {"model": state}}[layout], path, legacy)
    elif layout == "model":
        save({"model": state}, path)
    else:
        (write_dit if layout == "plain" else write_dit_under_ema)(path, SMALL_DIT, seed=5)
    loaded = load_denoiser(dit(path), "float32", CPU).network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("part", ["", "transformer"])
@pytest.mark.parametrize("stored_positions", [False, True])
@pytest.mark.parametrize("formats", [("bin",), ("safetensors",)], ids="+".join)
def test_the_dit_pipeline_predicts_as_diffusers_does(tmp_path: Path, part: str, stored_positions: bool, formats):
    write_dit_pipeline(tmp_path, SMALL_DIT, SMALL_AUTOENCODER, formats, stored_positions=stored_positions)
    spec = dit(tmp_path / part)
    assert spec.files[0] == tmp_path / "transformer/config.json"
    ours = load_denoiser(spec, "float32", CPU)
    theirs = DiTTransformer2DModel.from_pretrained(
        tmp_path / "transformer", local_files_only=True, use_safetensors=formats == ("safetensors",)
    ).eval()
    for block in theirs.transformer_blocks:
        # diffusers divides the frequencies by 127 where the original has 128, with weights trained by the original.
        assert block.norm1.emb.time_proj.downscale_freq_shift == 1
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    x, t, labels = torch.randn(2, 4, 8, 8), torch.tensor([7, 900]), torch.tensor([3, 10])
    with torch.inference_mode():
        expected = theirs(x, t, class_labels=labels).sample
        assert torch.allclose(torch.cat(ours(x, t, labels), dim=1), expected, atol=1e-5)


def test_the_autoencoder_of_a_pipeline_loads_as_the_pipeline_loads_it(tmp_path: Path) -> None:
    write_dit_pipeline(tmp_path, SMALL_DIT, SMALL_AUTOENCODER)
    theirs = DiTPipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=False).vae
    ours = load_autoencoder(kl(tmp_path))
    assert kl(tmp_path).files == [tmp_path / "vae/config.json", tmp_path / "vae/diffusion_pytorch_model.bin"]
    with torch.inference_mode():
        assert torch.equal(decode(ours, LATENTS), theirs.decode(LATENTS / 0.18215).sample)


def test_a_dit_folder_of_another_shape_is_one_clear_error(tmp_path: Path) -> None:
    write_dit_pipeline(tmp_path, SMALL_DIT, SMALL_AUTOENCODER)
    for change, message in [
        ({"depth": 3}, r"transformer/config\.json has num_layers 2, but the denoiser's configuration wants 3"),
        ({"hidden_size": 64}, r"has num_attention_heads \* attention_head_dim 32, .* wants 64"),
        ({"input_size": 16}, "has sample_size 8, .* wants 16"),
        ({"num_classes": 1000}, "has num_embeds_ada_norm 10, .* wants 1000"),
        ({"learn_sigma": False}, "has out_channels 8, .* wants 4"),
    ]:
        with pytest.raises(UserError, match=message):
            load_denoiser(dit(tmp_path, replace(SMALL_DIT, **change)), "float32", CPU)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("transformer_blocks.1.attn1.to_k.bias", None, "lack the key 'transformer_blocks.1.attn1.to_k.bias'"),
        ("transformer_blocks.1.norm3.weight", torch.ones(32), "unexpected key 'transformer_blocks.1.norm3.weight'"),
        ("proj_out_2.weight", torch.full((32, 32), torch.nan), "'proj_out_2.weight' holds NaN or Inf"),
        ("proj_out_2.bias", torch.zeros(31), r"'proj_out_2.bias' has shape \(31,\), want \(32,\)"),
        (
            "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight",
            torch.zeros(11, 32),
            "a DiT has one embedder for all blocks",
        ),
        ("pos_embed.pos_embed", torch.zeros(1, 16, 32), "not the table of positions that a DiT computes"),
    ],
)
def test_a_dit_folder_whose_weights_do_not_fit_is_one_clear_error(tmp_path: Path, key, change, message: str) -> None:
    write_dit_pipeline(tmp_path, SMALL_DIT, SMALL_AUTOENCODER, ("safetensors",))
    path = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({**state, key: change} if change is not None else {k: v for k, v in state.items() if k != key}, path)
    with pytest.raises(UserError, match=message) as caught:
        load_denoiser(dit(tmp_path), "float32", CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "is the configuration of a UNet2DConditionModel, want AutoencoderKL"),
        ({"block_out_channels": "wide"}, "is no configuration of AutoencoderKL"),
        ({"layers_per_block": 2}, "lack the key"),
        ({"latent_channels": 8}, "want"),
        ({"scaling_factor": None}, "has scaling_factor None, want a number above 0"),
        ({"scaling_factor": 0.0}, r"has scaling_factor 0\.0, want a number above 0"),
    ],
)
def test_an_autoencoder_of_another_configuration_is_one_clear_error(tmp_path: Path, changes: dict, message: str):
    write_autoencoder(tmp_path, SMALL_AUTOENCODER)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=message) as caught:
        load_autoencoder(kl(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["decoder.mid_block.attentions.0.value.bias", "encoder.conv_out.weight"])
def test_a_missing_key_is_never_left_random(tmp_path: Path, key: str) -> None:
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, ("safetensors",))
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != key}, path)
    with pytest.raises(UserError, match="lack the key"):
        load_autoencoder(kl(tmp_path))


def test_a_projection_under_two_names_is_refused(tmp_path: Path) -> None:
    write_autoencoder(tmp_path, SMALL_AUTOENCODER, ("safetensors",))
    path, name = tmp_path / "diffusion_pytorch_model.safetensors", "decoder.mid_block.attentions.0"
    state = load_file(path)
    save_file({**state, f"{name}.to_q.weight": 2 * state[f"{name}.query.weight"]}, path)
    with pytest.raises(UserError, match=r"to_q\.weight' is there twice"):
        load_autoencoder(kl(tmp_path))


def test_a_kl_autoencoder_as_a_file_and_a_vq_one_without_its_shape_are_one_clear_error(tmp_path: Path) -> None:
    path = write_vq(tmp_path / "vq.ckpt", SMALL_VQ)
    with pytest.raises(UserError, match=r"kind kl is a folder of diffusers, got .*vq\.ckpt"):
        load_autoencoder(AutoencoderSpec("sd", "kl", path))
    with pytest.raises(UserError, match="the config of the autoencoder vq has no 'embed_dim'"):
        load_autoencoder(AutoencoderSpec("vq", "vq", path))
    with pytest.raises(UserError, match="has unknown key 'chanels'"):
        load_autoencoder(AutoencoderSpec("vq", "vq", path, {"chanels": 3}))
