"""Every kind of recipe, from data to weights with a card, at the shortest length."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.scripts.command import run_here

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
