"""Compare two results: `python -m scripts.compare a=DIR_OR_FILE b=DIR_OR_FILE`."""

from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command


def main(config: DictConfig) -> None:
    from experiments.compare import compare_places
    from tstitch.runs.ranks import choose_device, joined_ranks

    settings = resolved(config)
    with joined_ranks() as ranks:
        lines = compare_places([Path(settings[key]) for key in ("a", "b")], ranks, choose_device("auto", 0))
    print("\n".join(lines))


if __name__ == "__main__":
    run_command("compare", main)
