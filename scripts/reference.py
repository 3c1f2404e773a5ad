"""Make or show a reference: what FID and the other metrics compare with.

python -m scripts.reference make IMAGES OUT.npz --extractor-weights FILE
python -m scripts.reference show FILE.npz
"""

import argparse
from pathlib import Path

from cli.arguments import Parser
from cli.command import run_parsed


def main(arguments: argparse.Namespace) -> None:
    from experiments.evaluation import extractor_name
    from experiments.reference import describe_reference, make_reference_of

    if arguments.action == "show":
        print("\n".join(describe_reference(arguments.file)))
        return
    name, keep_features = extractor_name(arguments.extractor), not arguments.no_features
    images, out, weights = arguments.images, arguments.out, arguments.extractor_weights
    if make_reference_of(images, out, name, weights, keep_features, arguments.device):
        print("\n".join(describe_reference(out)))


def make_parser() -> Parser:
    """Make the parser of the command line."""
    parser = Parser(prog="python -m scripts.reference", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make", help="statistics of images")
    making.add_argument("images", type=Path, help="an .npz with arr_0, a run's directory, or a folder of PNGs")
    making.add_argument("out", type=Path, help="the .npz to write")
    making.add_argument("--extractor", default="inception", help="inception, dinov2 or digits")
    making.add_argument("--extractor-weights", type=Path, required=True, help="a file; nothing is downloaded")
    making.add_argument("--no-features", action="store_true", help="leave out what precision, recall and KID need")
    making.add_argument("--device", default="auto", help="auto, cpu or cuda")
    showing = actions.add_parser("show", help="what a reference holds")
    showing.add_argument("file", type=Path)
    return parser


if __name__ == "__main__":
    run_parsed(make_parser(), main)
