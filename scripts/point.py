"""The points of a sweep under torchrun: sample and score them. `scripts.sweep ranks=N` starts it.

torchrun --nproc-per-node N -m scripts.point POINTS.json
"""

import argparse
from pathlib import Path

from cli.arguments import Parser
from cli.command import run_parsed


def main(arguments: argparse.Namespace) -> None:
    from experiments.points import run_listed_points

    run_listed_points(arguments.points)


def make_parser() -> Parser:
    """Make the parser of the command line."""
    parser = Parser(prog="python -m scripts.point", description=__doc__.splitlines()[0])
    parser.add_argument("points", type=Path, help="the list that scripts.sweep wrote")
    return parser


if __name__ == "__main__":
    run_parsed(make_parser(), main, continues=True)
