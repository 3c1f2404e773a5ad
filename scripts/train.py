"""Train one network of the digits zoo: `python -m scripts.train recipe=digits_dit_s`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkout import ROOT
from sampling.configuration import resolved
from scripts.cli import run_command

if TYPE_CHECKING:
    from settings.train import TrainSettings


def main(config: TrainSettings) -> None:
    import torch

    from training import recipes
    from training.optimizers import OptimizerSettings
    from training.trainer import TrainerSettings

    settings = resolved(config)
    recipe = settings["recipe"]
    out = Path(settings["out"] or ROOT / "runs" / "train" / recipe["name"])
    out.mkdir(parents=True, exist_ok=True)
    _refuse_another_recipe(out / "recipe.json", recipe)
    torch.manual_seed(recipe["trainer"]["seed"])
    recipes.RECIPES[recipe["kind"]](
        recipe,
        TrainerSettings(**recipe["trainer"]),
        OptimizerSettings(**recipe["optimizer"]),
        out,
        Path(settings["zoo"]),
        _command(sys.argv[1:]),
    )


def _command(arguments: list[str]) -> str:
    """Write the command that trains the same again, wherever its files go."""
    kept = [argument for argument in arguments if not argument.startswith(("out=", "zoo="))]
    return " ".join(["python -m scripts.train", *kept])


def _refuse_another_recipe(path: Path, recipe: dict) -> None:
    from tstitch.errors import UserError
    from tstitch.runs.json_files import read_json, write_json

    if path.exists():
        try:
            is_alike = read_json(path) == recipe
        except UserError as error:
            raise UserError(f"{error}; so it is unknown what {path.parent} holds; give another out=DIR") from error
        if not is_alike:
            raise UserError(f"{path.parent} holds the training of another recipe; give another out=DIR or remove it")
    write_json(path, recipe)


if __name__ == "__main__":
    run_command("train", main)
