"""Published weights: list, fetch, verify; and convert old checkpoints to safetensors.

python -m scripts.weights list
python -m scripts.weights fetch dit_xl_256 sd_vae_ft_ema
python -m scripts.weights fetch pair=dit_s_xl
python -m scripts.weights verify pair=dit_s_xl
python -m scripts.weights convert last.ckpt last.safetensors
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from models.addresses import browser_address
from models.published import (
    Published,
    PublishedFile,
    entry_of,
    find_published,
    missing_message,
    read_manifest,
    verify,
)
from scripts.cli import CONFIG_DIR, ROOT, guarded
from scripts.outputs import check_output
from tstitch.checkpoints import all_tensors_of, read_checkpoint
from tstitch.errors import UserError

WEIGHTS_DIR = ROOT / "weights"
PAIR, MIRROR = "pair=", "TSTITCH_MIRROR"


def load_manifest() -> dict[str, Published]:
    """Read the manifest of `configs/weights.yaml`."""
    return read_manifest(yaml.safe_load((CONFIG_DIR / "weights.yaml").read_text()))


def main(arguments: argparse.Namespace) -> None:
    if arguments.command == "convert":
        return convert(arguments.source, arguments.destination)
    manifest, directory = load_manifest(), arguments.directory
    names = arguments.names or list(manifest)
    entries = find_entries(names, manifest)
    if arguments.command == "list":
        for entry in entries:
            print("\n".join(describe(entry, directory)))
    elif arguments.command == "verify":
        _verify_all(entries, directory)
    else:
        _fetch_all(entries, directory, arguments.mirror)
    return None


def find_entries(names: Sequence[str], manifest: dict[str, Published]) -> list[Published]:
    """Find the entries of names, where `pair=NAME` stands for all that a pair and its evaluation need."""
    entries: dict[str, Published] = {}
    for name in names:
        expanded = names_of_pair(name.removeprefix(PAIR), manifest) if name.startswith(PAIR) else [name]
        entries |= {expanded_name: find_published(manifest, expanded_name) for expanded_name in expanded}
    return list(entries.values())


def names_of_pair(pair: str, manifest: dict[str, Published]) -> list[str]:
    """Name the entries that a pair and its evaluation need; none for a pair that ships with the code.

    Raises:
        UserError: there is no such pair.
    """
    known = sorted(path.stem for path in (CONFIG_DIR / "pair").glob("*.yaml"))
    if pair not in known:
        raise UserError(f"unknown pair {pair!r}; known: {', '.join(known)}")
    config = yaml.safe_load((CONFIG_DIR / "pair" / f"{pair}.yaml").read_text())
    paths = [config["evaluation"]["extractor_weights"], config["evaluation"]["reference"]]
    for default in config["defaults"]:
        [(group, name)] = default.items() if isinstance(default, dict) else [("", "")]
        folder = group.partition("@")[0].strip("/")
        if folder in ("denoiser", "autoencoder"):
            paths.append(yaml.safe_load((CONFIG_DIR / folder / f"{name}.yaml").read_text())["path"])
    entries = (entry_of(ROOT / path, manifest, WEIGHTS_DIR) for path in paths)
    needed = {entry.name for entry in entries if entry is not None}
    return [name for name in manifest if name in needed]


def explain_missing(paths: Sequence[Path], pair: str | None = None) -> str:
    """Say which files are missing, and which command fetches them, for a pair where that is known."""
    manifest = load_manifest()
    is_published = pair is not None and (CONFIG_DIR / "pair" / f"{pair}.yaml").is_file()
    names = names_of_pair(pair, manifest) if is_published else []
    return missing_message(paths, manifest, WEIGHTS_DIR, pair, names).replace(f"{ROOT}/", "")


def list_missing(paths: Sequence[Path], label: str, pair: str) -> list[str]:
    """Write a line on each component that lacks files, and where there are several one with the command for all."""
    manifest = load_manifest()
    components: dict[str, list[Path]] = {}
    for path in paths:
        entry = entry_of(path, manifest, WEIGHTS_DIR)
        components.setdefault(str(path) if entry is None else entry.name, []).append(path)
    lines = [f"{label}: {explain_missing(files)}" for files in components.values()]
    if len(lines) > 1:
        lines.append(f"{label}, all of it: {explain_missing(paths, pair).partition('to get them run: ')[2]}")
    return lines


def is_published(path: Path) -> bool:
    """Whether a file is one that `fetch` knows."""
    return entry_of(path, load_manifest(), WEIGHTS_DIR) is not None


def describe(entry: Published, directory: Path) -> list[str]:
    """Write an entry in lines: provenance and licence, then each file with its state, size and address."""
    other = f"; a second source of {entry.stands_in_for}, for its path={directory / entry.path}" if entry.path else ""
    return [
        f"{entry.name}: {entry.provenance}; license {entry.license}{other}".replace(f"{ROOT}/", ""),
        *(f"    {file.file}: {_state(file, directory)}; {browser_address(file.url)}" for file in entry.files),
    ]


def _state(file: PublishedFile, directory: Path) -> str:
    from models.fetching import show_bytes

    path = directory / file.file
    if path.is_file():
        return f"here, {show_bytes(path.stat().st_size)}"
    return "not here, " + ("size unknown" if file.size is None else show_bytes(file.size))


def _verify_all(entries: Sequence[Published], directory: Path) -> None:
    failures = []
    for entry in entries:
        try:
            for file, digest in verify(entry, directory).items():
                print(f"{entry.name}: {file} sha256 {digest}")
        except UserError as error:
            failures.append(str(error))
    _stop_if_any(failures, len(entries), "verify")


def _fetch_all(entries: Sequence[Published], directory: Path, mirror: str | None) -> None:
    """State sizes and licences, then fetch file after file; what fails does not stop the others."""
    from models.fetching import check_disk, fetch_file, show_bytes
    from scripts.progress import Bytes

    if not entries:
        print("nothing to fetch: everything of it ships with the code")
        return
    for entry in entries:
        print("\n".join(describe(entry, directory)))
    size, unknown, free = check_disk(entries, directory)
    sizes = f"{show_bytes(size)} to come" + (f" and {unknown} files of unknown size" if unknown else "")
    print(f"in all: {sizes}, {show_bytes(free)} free; by fetching you accept: {', '.join(_licenses(entries))}")
    failures, display = [], Bytes()
    for entry in entries:
        for file in entry.files:
            try:
                fetch_file(file, directory, mirror, print, display.start)
            except (UserError, OSError) as error:
                failures.append(f"{entry.name}: {error}{_second_source(entry, directory)}")
            finally:
                display.stop()
    _stop_if_any(failures, sum(len(entry.files) for entry in entries), "fetch")


def _licenses(entries: Sequence[Published]) -> list[str]:
    return list(dict.fromkeys(entry.license for entry in entries))


def _second_source(entry: Published, directory: Path) -> str:
    for other in load_manifest().values():
        if other.stands_in_for == entry.name:
            return (
                f"; or take its second source: python -m scripts.weights fetch {other.name}, "
                f"then set that denoiser's path={directory / other.path}".replace(f"{ROOT}/", "")
            )
    return ""


def _stop_if_any(failures: Sequence[str], num_files: int, command: str) -> None:
    """End with the one failure, or list several on stderr and end with their number."""
    if len(failures) == 1:
        raise UserError(failures[0])
    if failures:
        print(*(f"error: {' '.join(failure.split())}" for failure in failures), sep="\n", file=sys.stderr)
        raise UserError(f"{len(failures)} of {num_files} failed; the same {command} goes on with them")


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
    """Make the parser of the command line."""
    directory = argparse.ArgumentParser(add_help=False)
    directory.add_argument(
        "--directory", type=Path, default=argparse.SUPPRESS, help="where weights lie (default: weights/)"
    )
    parser = argparse.ArgumentParser(
        prog="python -m scripts.weights", description="Published weights.", parents=[directory]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "list": "names, files, sizes, whether they are here, license, address",
        "fetch": "download; the same command continues",
        "verify": "compare checksums",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, parents=[directory])
        command.add_argument(
            "names",
            nargs="*" if name == "list" else "+",
            metavar="NAME",
            help="an entry of configs/weights.yaml, or pair=NAME: all that a pair and its evaluation need",
        )
        if name == "fetch":
            command.add_argument(
                "--mirror",
                default=os.environ.get(MIRROR),
                metavar="URL",
                help=f"ask URL/HOST/PATH instead of https://HOST/PATH (default: ${MIRROR})",
            )
    converter = commands.add_parser("convert", help="any .pt or .ckpt to safetensors, running nothing from it")
    converter.add_argument("source", type=Path)
    converter.add_argument("destination", type=Path)
    parser.set_defaults(directory=WEIGHTS_DIR)
    return parser


if __name__ == "__main__":
    guarded(main)(make_parser().parse_args())
