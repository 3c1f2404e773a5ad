"""The points of a sweep under torchrun: sample and score them. `scripts.sweep ranks=N` starts it.

torchrun --nproc-per-node N -m scripts.point POINTS.json
"""

import argparse
from pathlib import Path

from scripts.cli import guarded, prepare_process


def main(path: Path) -> None:
    from experiments.points import run_listed_points

    run_listed_points(path)


if __name__ == "__main__":
    prepare_process()
    parser = argparse.ArgumentParser(prog="python -m scripts.point", description=__doc__.splitlines()[0])
    parser.add_argument("points", type=Path, help="the list that scripts.sweep wrote")
    guarded(main)(parser.parse_args().points)
