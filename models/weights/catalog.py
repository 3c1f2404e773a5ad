"""The manifest of published weights: what a pair needs of it, and which command fetches what is missing."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from models.checkout import CONFIG_DIR, ROOT
from models.weights.addresses import browser_address
from models.weights.published import (
    Published,
    PublishedFile,
    entry_of,
    find_published,
    missing_message,
    read_manifest,
)
from tstitch.errors import UserError

WEIGHTS_DIR = ROOT / "weights"
MANIFEST = CONFIG_DIR / "weights.yaml"
PAIR = "pair="


def load_manifest() -> dict[str, Published]:
    """Read the manifest of `configs/weights.yaml`."""
    return read_manifest(yaml.safe_load(MANIFEST.read_text()))


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
    paths = []
    for default in _read_yaml("pair", pair)["defaults"]:
        [(group, name)] = default.items() if isinstance(default, dict) else [("", "")]
        folder = group.partition("@")[0].strip("/")
        if folder in ("denoiser", "autoencoder"):
            paths.append(_read_yaml(folder, name)["path"])
        if folder == "data":
            evaluation = _read_yaml(folder, name)["evaluation"]
            paths += [evaluation["extractor_weights"], evaluation["reference"]]
    entries = (entry_of(ROOT / path, manifest, WEIGHTS_DIR) for path in paths)
    needed = {entry.name for entry in entries if entry is not None}
    return [name for name in manifest if name in needed]


def _read_yaml(folder: str, name: str) -> dict:
    return yaml.safe_load((CONFIG_DIR / folder / f"{name}.yaml").read_text())


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
        command = explain_missing(paths, pair).partition("to get them run: ")[2]
        lines += [f"{label}, all of it: {command}"] if command else []  # for those trained here there is none
    return lines


def is_published(path: Path) -> bool:
    """Tell whether a file is one that `fetch` knows."""
    return entry_of(path, load_manifest(), WEIGHTS_DIR) is not None


def describe(entry: Published, directory: Path) -> list[str]:
    """Write an entry in lines: provenance and licence, then each file with its state, size and address."""
    other = f"; a second source of {entry.stands_in_for}, for its path={directory / entry.path}" if entry.path else ""
    return [
        f"{entry.name}: {entry.provenance}; license {entry.license}{other}".replace(f"{ROOT}/", ""),
        *(f"    {file.file}: {_state(file, directory)}; {browser_address(file.url)}" for file in entry.files),
    ]


def _state(file: PublishedFile, directory: Path) -> str:
    from models.weights.fetching import show_bytes

    path = directory / file.file
    if path.is_file():
        return f"here, {show_bytes(path.stat().st_size)}"
    return "not here, " + ("size unknown" if file.size is None else show_bytes(file.size))
