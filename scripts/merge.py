"""Merge a run's shards into samples.npz, as the sampling command does at its end: `python -m scripts.merge run=DIR`."""

from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command
from tstitch.runs.run import load_run, locked, merge_run


def main(config: DictConfig) -> None:
    run = load_run(Path(resolved(config)["run"]))
    with locked(run.directory):
        if not merge_run(run):
            print("it is there already")
    print(run.samples)


if __name__ == "__main__":
    run_command("merge", main)
