"""The directory of a training, which belongs to one recipe."""

from pathlib import Path

from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.outputs import check_writable

RECIPE = "recipe.json"


def check_directory(out: Path, recipe: dict) -> None:
    """Raise `UserError` where a directory holds something else than the training of this recipe. Writes nothing."""
    check_writable(out / RECIPE)
    if (out / RECIPE).is_file():
        try:
            there = read_json(out / RECIPE)
        except UserError as error:
            raise UserError(f"{error}; so it is unknown what {out} holds; give another out=DIR") from error
        if there != recipe:
            raise UserError(f"{out} holds the training of another recipe; give another out=DIR or remove it")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no training; give another out=DIR")


def claim_directory(out: Path, recipe: dict) -> None:
    """Make the directory the recipe's, once everything that training needs is there."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECIPE, recipe)
