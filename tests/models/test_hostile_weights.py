"""Nothing in a weights file runs, whichever way it comes in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evaluation.metrics.extractors import DIGITS, DINOV2, INCEPTION, load_extractor
from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.networks.dit import dit_config
from models.pair import DenoiserSpec, load_denoiser
from models.weights.actions import convert
from models.weights.read import read_state_dict
from tests.published.diffusers_folders import SMALL_AUTOENCODER, write_autoencoder, write_dit_pipeline
from tests.published.hostile import HOSTILE, write_hostile
from tests.published.manifest import SMALL_LDM, SMALL_VQ, small_dit
from tests.scripts.command import PYTHON, run
from tstitch.errors import UserError

CPU = torch.device("cpu")
SMALL_DIT = small_dit(dit_config("DiT-XL/2", input_size=32))
BIN = "diffusion_pytorch_model.bin"


def load_dit_folder(path: Path) -> None:
    folder = write_dit_pipeline(path.parent / "pipeline", SMALL_DIT, SMALL_AUTOENCODER) / "transformer"
    path.replace(folder / BIN)
    load_denoiser(DenoiserSpec("dit", "dit", SMALL_DIT, folder), "float32", CPU)


def load_autoencoder_folder(path: Path) -> None:
    folder = write_autoencoder(path.parent / "vae", SMALL_AUTOENCODER, ("bin",))
    path.replace(folder / BIN)
    load_autoencoder(AutoencoderSpec("sd", "kl", folder))


LOADERS: dict[str, Callable[[Path], object]] = {
    "state dict": read_state_dict,
    "autoencoder folder": load_autoencoder_folder,
    "vq": lambda path: load_autoencoder(AutoencoderSpec("vq", "vq", path, vars(SMALL_VQ))),
    "dit": lambda path: load_denoiser(DenoiserSpec("dit", "dit", SMALL_DIT, path), "float32", CPU),
    "dit folder": load_dit_folder,
    "ldm": lambda path: load_denoiser(DenoiserSpec("ldm", "ldm", SMALL_LDM, path), "float32", CPU),
    INCEPTION: lambda path: load_extractor(INCEPTION, path, CPU),
    DINOV2: lambda path: load_extractor(DINOV2, path, CPU),
    DIGITS: lambda path: load_extractor(DIGITS, path, CPU),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("loader", LOADERS)
def test_a_hostile_file_leaves_no_canary(tmp_path: Path, kind: str, loader: str) -> None:
    canary, state = tmp_path / "canary", {"x": torch.ones(2)}
    path = write_hostile(tmp_path / "weights.pt", kind, canary, state)
    if loader == "state dict" and kind.startswith("args"):
        assert torch.equal(LOADERS[loader](path)["x"], state["x"])
    else:
        with pytest.raises(UserError) as caught:
            LOADERS[loader](path)
        assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_the_files_are_as_hostile_as_they_are_meant_to_be(tmp_path: Path) -> None:
    for number, kind in enumerate(HOSTILE):
        canary = tmp_path / f"canary {number}".replace(" ", "_")
        path = write_hostile(tmp_path / f"{number}.pt", kind, canary, {"x": torch.ones(2)})
        try:
            torch.load(path, weights_only=False)
        except Exception:
            assert kind in ("persistent id", "magic"), kind  # they run first, and end in an error then
        assert canary.exists(), kind


@pytest.mark.parametrize("kind", HOSTILE)
def test_convert_runs_nothing(tmp_path: Path, kind: str) -> None:
    canary, state = tmp_path / "canary", {"x": torch.ones(2)}
    source, destination = tmp_path / "w.ckpt", tmp_path / "w.safetensors"
    write_hostile(source, kind, canary, state)
    if kind in ("zip", "legacy", "args", "args legacy"):
        convert(source, destination)
        assert torch.equal(load_file(destination)["x"], state["x"])
    else:
        with pytest.raises(UserError, match=r"not a checkpoint of PyTorch|holds no tensors by name"):
            convert(source, destination)
        assert not destination.exists()
    assert not canary.exists()


def test_the_command_refuses_a_program_in_one_line(tmp_path: Path) -> None:
    source = write_hostile(tmp_path / "w.ckpt", "torchscript", tmp_path / "canary", {})
    done = run(*PYTHON, "-m", "scripts.weights", "convert", str(source), str(tmp_path / "w.safetensors"))
    assert done.code == 2
    assert "a TorchScript archive, which is a program" in done.err
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [source]
