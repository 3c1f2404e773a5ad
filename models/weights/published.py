"""Published weights: the manifest, missing files, checksums that are pinned on first use. Touches no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tstitch.errors import UserError, explain_no_file
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import read_json, show_value

PINS = "checksums.json"


@dataclass(frozen=True)
class PublishedFile:
    """One published file.

    `file` is its place below the weights' directory. `size` in bytes and `sha256`, which may be a prefix, are those of
    the download; `member` names the file inside a published archive. `also` are further addresses of the same bytes.
    """

    file: str
    url: str
    also: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    member: str | None = None

    @property
    def addresses(self) -> list[str]:
        return [self.url, *self.also]


@dataclass(frozen=True)
class Published:
    """All published files of one component.

    `stands_in_for` names the entry that it is a second source of, in another layout; `path`, below the weights'
    directory, is then what the denoiser's own `path` is set to.
    """

    name: str
    license: str
    provenance: str
    files: tuple[PublishedFile, ...]
    stands_in_for: str | None = None
    path: str | None = None


def read_manifest(entries: Mapping[str, dict]) -> dict[str, Published]:
    """Read the manifest: entries by name."""
    return {
        name: Published(name=name, **{**entry, "files": tuple(map(_read_file, entry["files"]))})
        for name, entry in entries.items()
    }


def _read_file(values: dict) -> PublishedFile:
    return PublishedFile(**{**values, "also": tuple(values.get("also", ()))})


def find_published(manifest: Mapping[str, Published], name: str) -> Published:
    """Find an entry by name; `UserError` with the known names."""
    if name not in manifest:
        raise UserError(f"unknown weights {name!r}; known: {', '.join(manifest)}")
    return manifest[name]


def entry_of(path: Path, manifest: Mapping[str, Published], directory: Path) -> Published | None:
    """Find the entry that has a file, or all of a folder, by where it lies; None for files of the user's own."""
    for entry in manifest.values():
        for file in entry.files:
            place = directory / file.file
            if place == path or (path in place.parents and directory in path.parents):
                return entry
    return None


def missing_files(entry: Published, directory: Path) -> list[PublishedFile]:
    """List the files of an entry that are not there."""
    return [file for file in entry.files if not (directory / file.file).is_file()]


def missing_message(
    missing: Sequence[Path],
    manifest: Mapping[str, Published],
    directory: Path,
    pair: str | None = None,
    names_of_pair: Sequence[str] = (),
) -> str:
    """Say which files are missing, where they are published, and which command fetches them.

    Args:
        missing: files that do not exist.
        pair: the pair that needs them, named in the command where `fetch pair=...` gets them all.
        names_of_pair: the entries that `fetch pair=...` gets.
    """
    entries = {path: entry_of(path, manifest, directory) for path in missing}
    names = list(dict.fromkeys(entry.name for entry in entries.values() if entry is not None))
    message = f"weights {missing[0]} {explain_no_file(missing[0], are_many=True)}"
    if missing[1:]:
        message += f", nor do {', '.join(map(str, missing[1:]))}"
    if not names:
        return message
    unpublished = [str(path) for path, entry in entries.items() if entry is None]
    if unpublished:
        message += f" (nobody is known to publish {', '.join(unpublished)})"
    if len(names) == 1:
        entry = manifest[names[0]]
        files = [file for file in entry.files if directory / file.file in entries]
        addresses = " and ".join(file.url for file in files)
        message += f"; published by {entry.provenance} at {addresses}; put them there, or run"
    else:
        message += "; to get them run"
    whole_pair = pair is not None and len(names) > 1 and set(names) <= set(names_of_pair)
    return f"{message}: python -m scripts.weights fetch {f'pair={pair}' if whole_pair else ' '.join(names)}"


def expected_sha256(file: PublishedFile, directory: Path) -> str | None:
    """Find the checksum, or its prefix, of a file on disk: the published one, else the pinned one."""
    if file.member is None and file.sha256 is not None:
        return file.sha256
    return read_pins(directory).get(file.file)


def verify(entry: Published, directory: Path, elsewhere: str = "") -> dict[str, str]:
    """Compare the checksums of an entry's files on disk with the published or pinned ones: file -> SHA-256.

    Args:
        elsewhere: of the command that fetches, the option for a directory that is not the usual one.

    Raises:
        UserError: a file is missing, or its size or checksum is another.
    """
    missing = missing_files(entry, directory)
    if missing:
        names = ", ".join(str(directory / file.file) for file in missing)
        command = f"python -m scripts.weights fetch {entry.name}{elsewhere}"
        raise UserError(f"{names} {'do' if len(missing) > 1 else 'does'} not exist; run: {command}")
    return {file.file: verify_file(file, directory) for file in entry.files}


def verify_file(file: PublishedFile, directory: Path) -> str:
    """Compare one file on disk with what is known of it; its SHA-256."""
    path, wanted = directory / file.file, expected_sha256(file, directory)
    size = path.stat().st_size
    if file.member is None and file.size is not None and size != file.size:
        raise UserError(f"{path} has {size} bytes, want {file.size}; remove it and fetch it again")
    actual = file_sha256(path)
    if wanted is not None and not actual.startswith(wanted):
        raise UserError(f"{path} has sha256 {actual}, want {wanted}; remove it and fetch it again")
    return actual


def read_pins(directory: Path) -> dict[str, str]:
    """Read the checksums that fetches have pinned: file -> SHA-256.

    Raises:
        UserError: `checksums.json` is damaged.
    """
    path = directory / PINS
    if not path.is_file():
        return {}
    try:
        pins = read_json(path)
        for file, digest in pins.items():
            if not isinstance(digest, str):
                raise UserError(f"{path}: {file} must be a SHA-256 as text, got {show_value(digest)}")
    except UserError as error:
        raise UserError(f"{error}; remove the file, and what it pinned is no longer checked") from error
    return pins
