"""Train one network of the digits zoo: `python -m scripts.train recipe=digits_dit_s`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkout import ROOT
from scripts.cli import run_command

if TYPE_CHECKING:
    from settings.train import TrainSettings


def main(settings: TrainSettings) -> None:
    from training.directory import check_directory
    from tstitch.errors import UserError
    from tstitch.runs.environment import read_environment
    from tstitch.runs.outputs import check_writable

    if read_environment().world_size > 1:
        raise UserError("training is one process, and each rank would train the same; start it without torchrun")
    recipe = settings.recipe.as_dict()
    out = Path(settings.out or ROOT / "runs" / "train" / recipe["name"])
    zoo = Path(settings.zoo)
    check_directory(out, recipe)
    if zoo.exists() and not zoo.is_dir():
        raise UserError(f"zoo={zoo} is a file; give the directory where the weights go")
    check_writable(zoo / "weights", key="zoo")

    # A mistake in the settings should not wait for these.
    import torch

    from training import recipes
    from training.optimizers import OptimizerSettings
    from training.trainer import TrainerSettings

    torch.manual_seed(recipe["trainer"]["seed"])
    recipes.RECIPES[recipe["kind"]](
        recipe,
        TrainerSettings(**recipe["trainer"]),
        OptimizerSettings(**recipe["optimizer"]),
        out,
        zoo,
        _command(sys.argv[1:]),
    )


def _command(arguments: list[str]) -> str:
    """Write the command that trains the same again, wherever its files go."""
    kept = [argument for argument in arguments if not argument.startswith(("out=", "zoo="))]
    return " ".join(["python -m scripts.train", *kept])


if __name__ == "__main__":
    run_command("train", main)
