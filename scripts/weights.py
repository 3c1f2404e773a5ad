"""Published weights: list, verify, fetch; and convert old checkpoints to safetensors.

python -m scripts.weights list
python -m scripts.weights fetch dit_xl_256
python -m scripts.weights verify dit_xl_256
python -m scripts.weights convert last.ckpt last.safetensors
"""

import argparse
from pathlib import Path

import yaml

from models.published import Published, fetch, find_published, read_manifest, verify
from scripts.cli import CONFIG_DIR, ROOT, guarded
from scripts.outputs import check_output
from tstitch.checkpoints import all_tensors_of, read_checkpoint
from tstitch.errors import UserError

WEIGHTS_DIR = ROOT / "weights"


def load_manifest() -> dict[str, Published]:
    """The manifest of `configs/weights.yaml`."""
    return read_manifest(yaml.safe_load((CONFIG_DIR / "weights.yaml").read_text()))


def main(arguments: argparse.Namespace) -> None:
    manifest, directory = load_manifest(), arguments.directory
    if arguments.command == "list":
        for entry in manifest.values():
            state = "here" if (directory / entry.file).is_file() else "not here"
            print(f"{entry.name}: {entry.file} ({state}); {entry.provenance}; {entry.license}; {entry.url}")
    elif arguments.command == "verify":
        for name in arguments.names:
            print(f"{name}: sha256 {verify(find_published(manifest, name), directory)}")
    elif arguments.command == "fetch":
        for entry in [find_published(manifest, name) for name in arguments.names]:
            fetch(entry, directory, print)
    else:
        convert(arguments.source, arguments.destination)


def convert(source: Path, destination: Path) -> None:
    """Write the tensors of any `.pt` or `.ckpt` as safetensors; nothing in the file is executed."""
    from safetensors.torch import save_file

    if not source.is_file():
        raise UserError(f"{source} does not exist")
    if destination.suffix != ".safetensors":
        raise UserError(f"the destination must end in .safetensors, got {destination}")
    check_output(destination, "converted weights", [source])
    try:
        tensors = read_checkpoint(source, all_tensors_of)
    except UserError as error:
        raise UserError(f"{source} is not a checkpoint of PyTorch: {error}") from error
    if not tensors:
        raise UserError(f"{source} holds no tensors by name")
    # Copies, because safetensors refuses tensors that share memory, as tied weights in a checkpoint do.
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, destination)
    print(f"{destination}: {len(tensors)} tensors")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.weights", description="Published weights.")
    parser.add_argument("--directory", type=Path, default=WEIGHTS_DIR, help="where weights lie (default: weights/)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, files, whether they are here, license, address")
    for name, text in (("verify", "compare checksums"), ("fetch", "download; the same command continues")):
        commands.add_parser(name, help=text).add_argument("names", nargs="+", metavar="NAME")
    converter = commands.add_parser("convert", help="any .pt or .ckpt to safetensors, running nothing from it")
    converter.add_argument("source", type=Path)
    converter.add_argument("destination", type=Path)
    return parser


if __name__ == "__main__":
    guarded(main)(make_parser().parse_args())
