"""The directory of a training, which belongs to one recipe."""

from pathlib import Path

from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.outputs import check_writable
from tstitch.runs.shards import remove_temporaries

RECIPE, MADE_FROM = "recipe.json", "made_from.json"


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
    elif out.is_dir() and any(path.name[0] != "." for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no training; give another out=DIR")


def claim_directory(out: Path, recipe: dict, made_from: dict) -> None:
    """Make the directory the recipe's, once everything that training needs is there.

    Args:
        made_from: the data and the checksums of the files that a training begins with.

    Raises:
        UserError: it holds the training on other data, or from other weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = begun_from(out)
    if before is not None and before != made_from:
        changed = next(key for key in {**before, **made_from} if before.get(key) != made_from.get(key))
        raise UserError(
            f"{out} holds a training with {changed} {before.get(changed)}, and this one has {made_from.get(changed)}; "
            "give another out=DIR or remove it"
        )
    remove_temporaries(out)
    write_json(out / RECIPE, recipe)
    write_json(out / MADE_FROM, made_from)


def begun_from(out: Path) -> dict | None:
    """Read the data and the checksums that the training of a directory began with; None where it has not begun."""
    return read_json(out / MADE_FROM) if (out / MADE_FROM).is_file() else None
