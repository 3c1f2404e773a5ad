"""Compare two results: `python -m scripts.compare a=DIR_OR_FILE b=DIR_OR_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import CompareSettings


def main(settings: CompareSettings) -> None:
    from experiments.compare import compare_places
    from tstitch.runs.ranks import choose_device, joined_ranks

    with joined_ranks() as ranks:
        lines = compare_places([Path(settings.a), Path(settings.b)], ranks, choose_device("auto", 0))
    print("\n".join(lines))


if __name__ == "__main__":
    run_command("compare", main)
