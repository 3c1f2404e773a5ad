"""Merge a run's shards into samples.npz, as the sampling command does at its end: `python -m scripts.merge run=DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import MergeSettings


def main(settings: MergeSettings) -> None:
    from tstitch.runs.run import load_run, locked, merge_run

    run = load_run(Path(settings.run))
    with locked(run.directory):
        if not merge_run(run):
            print("it is there already")
    print(run.samples)


if __name__ == "__main__":
    run_command("merge", main)
