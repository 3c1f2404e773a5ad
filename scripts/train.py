"""Train one network of a zoo: `python -m scripts.train recipe=dit_s`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command
from models.checkout import ROOT

if TYPE_CHECKING:
    from settings.train import TrainSettings


def main(settings: TrainSettings) -> None:
    from training.directory import check_directory
    from tstitch.errors import UserError
    from tstitch.runs.environment import read_environment
    from tstitch.runs.outputs import check_writable

    environment = read_environment()
    recipe, data = settings.recipe.as_dict(), settings.images
    out = Path(settings.out or ROOT / "runs" / "train" / f"{data.name}_{recipe['name']}")
    zoo, weights = Path(settings.zoo), Path(settings.weights)
    check_directory(out, recipe)
    for key, place in {"zoo": zoo, "weights": weights}.items():
        if place.exists() and not place.is_dir():
            raise UserError(f"{key}={place} is a file; give the directory where the weights go")
    check_writable(weights / "weights", key="weights")
    if "denoiser" in recipe and Path(recipe["denoiser"]["path"]).suffix != ".safetensors":
        raise UserError(
            f"recipe.denoiser.path={recipe['denoiser']['path']} is where the weights are written, as .safetensors alone"
        )

    # A mistake in the settings should not wait for these.
    import torch

    from training.group import joined_group
    from training.latents import load_data
    from training.recipes import RECIPES, Training
    from tstitch.runs.ranks import choose_device
    from tstitch.runs.run import locked

    device = choose_device(settings.device, environment.local_rank, environment.local_world_size)
    images = load_data(data.name, Path(data.folder) if data.folder else None)
    with joined_group(environment.rank, environment.world_size, device) as group:
        group.share(recipe["trainer"]["batch_size"])
        torch.manual_seed(recipe["trainer"]["seed"])
        training = Training(recipe, data.name, images, device, group, out, zoo, weights, _command(sys.argv[1:]))
        with locked(out) if group.is_main else nullcontext():
            RECIPES[recipe["kind"]](training)


def _command(arguments: list[str]) -> str:
    """Write the command that trains the same again, wherever its files go."""
    kept = [
        argument
        for argument in arguments
        if not argument.startswith(("out=", "zoo=", "weights=", "device=", "images.folder="))
    ]
    return " ".join(["python -m scripts.train", *kept])


if __name__ == "__main__":
    run_command("train", main)
