"""Every kind of recipe, from data to weights with a card, at the shortest length."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.pair import denoiser_spec, load_denoiser
from tests.conftest import ROOT
from tests.models.original import original_unet_state
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.digest import file_sha256

ZOO_UNET_S = {
    "image_size": 8, "model_channels": 12, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [2, 1],
    "num_head_channels": 12, "context_dim": 12, "num_classes": 10, "null_class": True, "norm_num_groups": 4,
}  # fmt: skip
SHORT = ["recipe.trainer.iterations=2", "recipe.trainer.batch_size=8"]


@pytest.mark.long
def test_recipes_make_a_zoo_that_samples(capfd, monkeypatch, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    for recipe in ("classifier", "autoencoder", "dit_s", "unet_s"):
        settings = [f"recipe={recipe}", *SHORT, f"zoo={zoo}", f"out={tmp_path / recipe}"]
        outcome = run_here(capfd, monkeypatch, "train", *settings)
        assert outcome.code == 0, outcome.err
        assert "2/2  loss" in outcome.out
        assert (tmp_path / recipe / "train.jsonl").is_file()
    cards = {path.stem: json.loads(path.read_text()) for path in zoo.rglob("*.json") if path.name != "config.json"}
    assert set(cards) == {"classifier", "diffusion_pytorch_model", "dit_s", "unet_s"}
    assert all(card["images_seen"] == 16 for card in cards.values())
    assert cards["dit_s"]["command"] == f"python -m scripts.train recipe=dit_s {' '.join(SHORT)}"
    assert 0 <= cards["classifier"]["held_out_accuracy"] <= 1
    assert cards["diffusion_pytorch_model"]["reconstruction_fid"] > 0
    assert "embedding.weight" in load_file(zoo / "unet_s.safetensors")
    for pair, name, file in (("digits_dit_s_xl", "s", "dit_s"), ("fashion_unet_s_l", "s", "unet_s")):
        outcome = run_here(
            capfd, monkeypatch, "sample", f"pair={pair}", "stitch.fractions=[1,0]", "num_images=2",
            "sampler.num_steps=2", f"pair.denoisers.{name}.path={zoo / f'{file}.safetensors'}",
            f"pair.autoencoder.path={zoo / 'autoencoder'}", f"out={tmp_path / pair}",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err

    other = run_here(capfd, monkeypatch, "train", "recipe=unet_s", *SHORT, f"out={tmp_path / 'dit_s'}")
    assert other.code == 2
    assert "holds the training of another recipe" in other.err


@pytest.mark.long
def test_a_training_begins_with_weights_that_are_there(capfd, monkeypatch, tmp_path: Path) -> None:
    """At a rate of nothing the weights stay what they began as, in bf16 as they are kept."""
    first = ROOT / "models/zoo/digits/dit_s.safetensors"
    settings = [*SHORT, "recipe=dit_s", f"recipe.begin_with={first}", "recipe.timesteps=[0,600]"]
    still = ["recipe.optimizer.adamw_lr=1e-12", "recipe.optimizer.muon_lr=1e-12", "recipe.trainer.ema_decay=1"]
    shutil.copytree(ROOT / "models/zoo/digits/autoencoder", tmp_path / "zoo/autoencoder")
    places = [f"zoo={tmp_path / 'zoo'}", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "train", *settings, *still, *places)
    assert outcome.code == 0, outcome.err
    before, after = load_file(first), load_file(tmp_path / "zoo/dit_s.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    card = json.loads((tmp_path / "zoo/dit_s.json").read_text())
    assert card["began_with_sha256"] == file_sha256(first)


@pytest.mark.long
def test_a_training_begins_with_the_average_of_a_checkpoint_where_that_is_asked_for(capfd, monkeypatch, tmp_path: Path):
    """As sampling from it does: half of the raw weights here."""
    spec = denoiser_spec("s", "ldm", ROOT / "models/zoo/fashion/unet_s.safetensors", ZOO_UNET_S)
    raw = original_unet_state(load_denoiser(spec, "float32", torch.device("cpu")).network)
    unet = {key.removeprefix("model."): value for key, value in raw.items() if key.startswith("model.")}
    averaged = {f"model_ema.{key.replace('.', '')}": value / 2 for key, value in unet.items()}
    torch.save({"state_dict": {**raw, **averaged}}, tmp_path / "ldm.ckpt")
    shutil.copytree(ROOT / "models/zoo/digits/autoencoder", tmp_path / "zoo/autoencoder")
    still = ["recipe.optimizer.adamw_lr=1e-12", "recipe.optimizer.muon_lr=1e-12", "recipe.trainer.ema_decay=1"]
    begin = [f"recipe.begin_with={tmp_path / 'ldm.ckpt'}", "+recipe.denoiser.ema=true", *still]
    places = [f"zoo={tmp_path / 'zoo'}", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "train", "recipe=unet_s", *SHORT, *begin, *places)
    assert outcome.code == 0, outcome.err
    before, after = load_file(spec.path), load_file(tmp_path / "zoo/unet_s.safetensors")
    for key, value in before.items():
        torch.testing.assert_close(after[key].float(), value.float() / (1 if key.startswith("embedding.") else 2))


@pytest.mark.long
def test_a_training_knows_what_it_began_with(capfd, monkeypatch, tmp_path: Path) -> None:
    """Where weights are trained on in their own place, those of the beginning are gone once it is finished."""
    first = ROOT / "models/zoo/digits/dit_s.safetensors"
    began, own = file_sha256(first), tmp_path / "own.safetensors"
    shutil.copy(first, own)
    shutil.copytree(ROOT / "models/zoo/digits/autoencoder", tmp_path / "zoo/autoencoder")
    settings = [*SHORT, "recipe=dit_s", f"recipe.begin_with={own}", f"zoo={tmp_path / 'zoo'}"]
    in_place = [
        *settings,
        "recipe.denoiser.path=own.safetensors",
        f"weights={tmp_path}",
        f"out={tmp_path / 'in_place'}",
    ]
    for _ in range(2):
        assert run_here(capfd, monkeypatch, "train", *in_place).code == 0
        assert file_sha256(own) != began
        assert json.loads((tmp_path / "own.json").read_text())["began_with_sha256"] == began
    shutil.copy(first, own)
    assert run_here(capfd, monkeypatch, "train", *settings, f"out={tmp_path / 'out'}").code == 0
    own.write_bytes((tmp_path / "zoo/dit_s.safetensors").read_bytes())
    again = run_here(capfd, monkeypatch, "train", *settings, f"out={tmp_path / 'out'}")
    check_one_line(again, f"holds a training with began_with_sha256 {began}, and this one has ")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("recipe.timesteps=[600,0]", "recipe needs timesteps of the form [first, end] with first < end <= 1000"),
        ("recipe.timesteps=[0,1001]", "recipe needs timesteps of the form [first, end] with first < end <= 1000"),
        ("recipe.begin_with=nowhere.safetensors", "weights nowhere.safetensors do not exist"),
        ("recipe.begin_with=models/zoo/digits/dit_xl.safetensors", "dit_xl.safetensors"),
    ],
)
def test_what_cannot_be_begun_with_is_one_line(capfd, monkeypatch, tmp_path: Path, argument: str, message: str) -> None:
    shutil.copytree(ROOT / "models/zoo/digits/autoencoder", tmp_path / "zoo/autoencoder")
    places = [f"zoo={tmp_path / 'zoo'}", f"out={tmp_path / 'out'}"]
    check_one_line(run_here(capfd, monkeypatch, "train", *SHORT, "recipe=dit_s", argument, *places), message)
    assert not (tmp_path / "zoo/dit_s.safetensors").exists()


@pytest.mark.long
def test_two_networks_are_stitched_and_only_the_layer_between_them_is_trained(
    capfd, monkeypatch, tmp_path: Path
) -> None:
    for trained in ("none", "layer"):
        settings = ["recipe=snnet", f"recipe.trained={trained}", "recipe.block=1", *SHORT, "recipe.num_features=32"]
        places = [f"weights={tmp_path / 'made'}", f"out={tmp_path / trained}"]
        outcome = run_here(capfd, monkeypatch, "train", *settings, *places)
        assert outcome.code == 0, outcome.err
    fitted, after = (load_file(tmp_path / f"made/snnet_1_{trained}.safetensors") for trained in ("none", "layer"))
    changed = {key for key in fitted if not torch.equal(fitted[key], after[key])}
    assert changed and changed <= {"stitch.weight", "stitch.bias"}
    large = load_file(ROOT / "models/zoo/digits/dit_xl.safetensors")
    assert torch.equal(fitted["large.blocks.0.mlp.fc1.weight"], large["blocks.4.mlp.fc1.weight"])
    card = json.loads((tmp_path / "made/snnet_1_none.json").read_text())
    assert card["stitched_sha256"]["large"] == file_sha256(ROOT / "models/zoo/digits/dit_xl.safetensors")
    alone = ["pair=digits_dit_s_xl_snnet", "stitch.fractions=[0,0,1,0,0]", "num_images=2", "sampler.num_steps=2"]
    weights = f"pair.denoisers.sn1.path={tmp_path / 'made/snnet_1_none.safetensors'}"
    outcome = run_here(capfd, monkeypatch, "sample", *alone, weights, f"out={tmp_path / 'images'}")
    assert outcome.code == 0, outcome.err
