"""Latents of a folder of images: what is encoded, resumed, shared among ranks, and trained on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.encode import encode_folder, list_images, read_square
from models.latents import read_record
from tests.conftest import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from training.latents import StoredLatents
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks

AUTOENCODER = AutoencoderSpec("digits", "kl", ROOT / "models/zoo/digits/autoencoder", downsampling=4)
CPU, ALONE = torch.device("cpu"), Ranks(0, 1, 0, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of two, three and one pictures, of several sizes and formats, as ImageNet names them."""
    generator = np.random.default_rng(0)
    names = ["n02/b.JPEG", "n02/a.png", "n01/x.JPEG", "n01/y.jpg", "n01/z.webp", "n10/q.png"]
    for index, name in enumerate(names):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sides = (40 + 9 * index, 33 + 20 * index, 3)
        Image.fromarray(generator.integers(0, 255, sides, dtype=np.uint8)).save(path)
    return tmp_path / "train"


def encode(folder: Path, out: Path, ranks: Ranks = ALONE, flips: bool = True, side: int = 32):
    return encode_folder(folder, out, AUTOENCODER, side, flips, 4, CPU, ranks)


def test_classes_and_files_are_in_the_order_of_their_names(folder: Path) -> None:
    paths, labels, classes = list_images(folder)
    assert classes == ["n01", "n02", "n10"]
    assert labels == [0, 0, 0, 1, 1, 2]
    assert [path.name for path in paths] == ["x.JPEG", "y.jpg", "z.webp", "a.png", "b.JPEG", "q.png"]


def test_an_image_is_halved_resized_and_cut_as_adm_does(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (150, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    halved = Image.fromarray(pixels).resize((45, 75), Image.Resampling.BOX)  # 90 is twice 32 and more, 45 is not
    resized = np.asarray(halved.resize((32, 53), Image.Resampling.BICUBIC))
    assert np.array_equal(read_square(tmp_path / "a.png", 32), resized[10:42])


def test_latents_are_those_of_the_autoencoder_and_the_second_half_is_mirrored(folder: Path, tmp_path: Path) -> None:
    record = encode(folder, tmp_path / "out")
    assert (record.num_images, record.num_latents, record.num_classes) == (6, 12, 3)
    open_before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    stored = StoredLatents(tmp_path / "out")
    mean, std, labels = stored.take(torch.tensor([4, 10, 0]))
    if open_before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= open_before, (
            "ImageNet has more parts than files may be open"
        )
    assert labels.tolist() == [1, 1, 0]
    autoencoder = load_autoencoder(AUTOENCODER)
    pixels = torch.from_numpy(read_square(folder / "n02/b.JPEG", 32).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    for row, image in ((0, pixels), (1, pixels.flip(3))):
        with torch.inference_mode():
            posterior = autoencoder.encode(image.mean(dim=1, keepdim=True)).latent_dist
        factor = autoencoder.config.scaling_factor
        assert torch.allclose(mean[row], posterior.mean[0] * factor, atol=5e-3)
        assert torch.allclose(std[row], posterior.std[0] * factor, atol=5e-3)


def test_what_is_there_is_kept_and_the_rest_made_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("models.latents.PART", 4)
    encode(folder, tmp_path / "whole")
    parts = sorted((tmp_path / "whole/parts").iterdir())
    assert [path.name for path in parts] == [f"{k:08d}-{k + 4:08d}.npz" for k in (0, 4, 8)]
    for rank in (0, 1):
        encode(folder, tmp_path / "shared", Ranks(rank, 2, rank, 2))
    assert [path.read_bytes() for path in sorted((tmp_path / "shared/parts").iterdir())] == [
        path.read_bytes() for path in parts
    ]
    kept = parts[1].stat().st_mtime_ns
    before = [path.read_bytes() for path in parts]
    damaged = bytearray(before[0])
    damaged[200] ^= 1
    parts[0].write_bytes(damaged)
    parts[2].unlink()
    with pytest.raises(UserError, match=r"is damaged .*; the command that encodes makes it again"):
        StoredLatents(tmp_path / "whole")
    encode(folder, tmp_path / "whole")
    assert [path.read_bytes() for path in parts] == before
    assert parts[1].stat().st_mtime_ns == kept


def test_a_record_that_could_not_be_written_leaves_a_folder_that_can_be_used(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("no space left")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="no space left"):
        patch.setattr("models.latents.write_json", full)
        encode(folder, tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out/.latents.json.1.tmp").write_text("{")
    assert encode(folder, tmp_path / "out").num_latents == 12


def test_one_launch_at_a_time(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tstitch.runs.run import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n print('in', flush=True)\n sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UserError, match="is in use by another launch"):
            encode(folder, tmp_path / "out")
        other.stdin.close()
    assert encode(folder, tmp_path / "out").num_latents == 12


def test_a_picture_too_large_to_be_one_is_named(tmp_path: Path, monkeypatch) -> None:
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"huge.png cannot be read as an image: .* pixels"):
        read_square(tmp_path / "huge.png", 32)


def test_a_directory_of_other_latents_is_refused(folder: Path, tmp_path: Path) -> None:
    encode(folder, tmp_path / "out")
    for other in ({"flips": False}, {"side": 64}):
        with pytest.raises(UserError, match="holds latents of other images or of another autoencoder"):
            encode(folder, tmp_path / "out", **other)
    shutil.rmtree(folder / "n10")
    with pytest.raises(UserError, match="holds latents of other images"):
        encode(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out"], "nowhere is no folder; give one with a subfolder of images for each class"),
        (["{train}/n01", "out"], "has no subfolders"),
        (["{train}", "out", "--side", "30"], "--side must be a multiple of 4, got 30"),
        (["{train}", "out", "--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["{train}", "out", "--autoencoder", "nowhere"], "weights nowhere"),
        (["{train}", "{train}"], "is not empty and holds no latents; give another directory"),
        (["{broken}", "out"], "a.png cannot be read as an image"),
    ],
)
def test_mistakes_are_one_line(capfd, monkeypatch, folder: Path, tmp_path: Path, arguments: list, message: str) -> None:
    (tmp_path / "broken/n01").mkdir(parents=True)
    (tmp_path / "broken/n01/a.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    monkeypatch.chdir(tmp_path)
    own = [argument.format(train=folder, broken=tmp_path / "broken") for argument in arguments]
    defaults = ["--autoencoder", str(AUTOENCODER.path)] if "--autoencoder" not in own else []
    sides = ["--side", "32"] if "--side" not in own else []
    check_one_line(run_here(capfd, monkeypatch, "encode", *own, *defaults, *sides, "--downsampling", "4"), message)


@pytest.mark.long
def test_a_network_is_trained_on_from_its_weights_on_the_encoded_images(
    capfd, monkeypatch, folder: Path, tmp_path: Path
) -> None:
    for name in [f"m{k}" for k in range(7)]:
        (folder / name).mkdir()
        shutil.copy(folder / "n10/q.png", folder / name / "q.png")
    out = tmp_path / "latents"
    places = ["--autoencoder", str(AUTOENCODER.path), "--downsampling", "4", "--side", "32"]
    outcome = run_here(capfd, monkeypatch, "encode", str(folder), str(out), *places)
    assert outcome.code == 0, outcome.err
    assert "26 latents of 13 images in 10 classes" in outcome.out
    assert read_record(out).latent_shape == [4, 8, 8]
    settings = [
        "recipe=finetune", "images=latents", f"images.folder={out}", "denoiser@recipe.denoiser=zoo_dit_s",
        "recipe.denoiser.name=s", "recipe.denoiser.path=s2.safetensors",
        "recipe.begin_with=models/zoo/digits/dit_s.safetensors",
        "recipe.timesteps=[200,500]", "recipe.trainer.iterations=2", "recipe.trainer.batch_size=4", "recipe.name=s2",
        f"weights={tmp_path / 'weights'}", f"out={tmp_path / 'training'}",
    ]  # fmt: skip
    outcome = run_here(capfd, monkeypatch, "train", *settings)
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "weights/s2.json").read_text())
    assert card["data"].startswith("13 images at 32 pixels, latents ")
    assert (tmp_path / "weights/s2.safetensors").is_file()
    check_one_line(
        run_here(capfd, monkeypatch, "train", *settings, "images.folder=null"), "images=latents needs images.folder=DIR"
    )
    (folder / "m0/q.png").rename(folder / "m0/r.png")
    assert run_here(capfd, monkeypatch, "encode", str(folder), str(tmp_path / "other"), *places).code == 0
    other = [*settings, f"images.folder={tmp_path / 'other'}"]
    message = f"holds a training with data 13 images at 32 pixels, latents {read_record(out).id}, and this one has 13"
    check_one_line(run_here(capfd, monkeypatch, "train", *other), message)
    published = [*settings, "recipe.denoiser.path=s2.pt", f"out={tmp_path / 'published'}"]
    check_one_line(run_here(capfd, monkeypatch, "train", *published), "recipe.denoiser.path=s2.pt is where the weights")
    whole = [*settings, "+recipe.denoiser.config.class_dropout_prob=0", f"out={tmp_path / 'whole'}"]
    whole = [setting for setting in whole if "begin_with" not in setting] + ["recipe.begin_with=null"]
    check_one_line(run_here(capfd, monkeypatch, "train", *whole), "the network has no null class")
