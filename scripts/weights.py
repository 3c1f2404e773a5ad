"""Published weights: list, fetch, verify; and convert old checkpoints to safetensors.

python -m scripts.weights list
python -m scripts.weights fetch|verify dit_xl_256 sd_vae_ft_ema | pair=dit_s_xl
python -m scripts.weights convert last.ckpt last.safetensors
"""

import argparse
import os
from pathlib import Path

from cli.arguments import Parser
from cli.command import run_parsed
from models.weights.actions import convert, fetch_all, verify_all
from models.weights.catalog import WEIGHTS_DIR, describe, find_entries, load_manifest

MIRROR = "TSTITCH_MIRROR"
COMMANDS = {
    "list": "names, files, sizes, whether they are here, license, address",
    "fetch": "download; the same command continues",
    "verify": "compare checksums",
}


def main(arguments: argparse.Namespace) -> None:
    if arguments.command == "convert":
        return convert(arguments.source, arguments.destination)
    manifest, directory = load_manifest(), arguments.directory
    entries = find_entries(arguments.names or list(manifest), manifest)
    if arguments.command == "verify":
        return verify_all(entries, directory)
    if arguments.command == "fetch":
        return fetch_all(entries, directory, arguments.mirror)
    for entry in entries:
        print("\n".join(describe(entry, directory)))
    return None


def make_parser() -> Parser:
    """Make the parser of the command line."""
    shared = Parser(add_help=False)
    shared.add_argument("--directory", type=Path, default=argparse.SUPPRESS, help="of the weights (default: weights/)")
    parser = Parser(prog="python -m scripts.weights", description="Published weights.", parents=[shared])
    commands = parser.add_subparsers(dest="command", required=True)
    names = "an entry of configs/weights.yaml, or pair=NAME: all that a pair and its evaluation need"
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, parents=[shared])
        command.add_argument("names", nargs="*" if name == "list" else "+", metavar="NAME", help=names)
        if name == "fetch":
            text = f"ask URL/HOST/PATH instead of https://HOST/PATH (default: ${MIRROR})"
            command.add_argument("--mirror", default=os.environ.get(MIRROR), metavar="URL", help=text)
    converter = commands.add_parser("convert", help="any .pt or .ckpt to safetensors, running nothing from it")
    converter.add_argument("source", type=Path)
    converter.add_argument("destination", type=Path)
    parser.set_defaults(directory=WEIGHTS_DIR)
    return parser


if __name__ == "__main__":
    run_parsed(make_parser(), main, continues=True)
