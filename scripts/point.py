"""The points of a sweep under torchrun: sample and score them. `scripts.sweep ranks=N` starts it.

torchrun --nproc-per-node N -m scripts.point POINTS.json
"""

import sys
from pathlib import Path

from scripts.cli import guarded, prepare_process


def main(path: Path) -> None:
    from experiments.points import run_listed_points

    run_listed_points(path)


if __name__ == "__main__":
    prepare_process()
    guarded(main)(Path(sys.argv[1]))
