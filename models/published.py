"""Published weights: a manifest, downloads that resume, checksums that are pinned on first use."""

import json
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tstitch.digest import file_sha256
from tstitch.errors import UserError

CHUNK_BYTES, TIMEOUT_S = 1 << 20, 60
PINS = "checksums.json"


@dataclass(frozen=True)
class Published:
    """One published file; `sha256` may be a prefix, `member` names it inside a published archive."""

    name: str
    file: str
    url: str
    license: str
    provenance: str
    sha256: str | None = None
    member: str | None = None


def read_manifest(entries: Mapping[str, dict]) -> dict[str, Published]:
    """The manifest by name."""
    return {name: Published(name=name, **entry) for name, entry in entries.items()}


def find_published(manifest: Mapping[str, Published], name: str) -> Published:
    """An entry by name; `UserError` with the known names."""
    if name not in manifest:
        raise UserError(f"unknown weights {name!r}; known: {', '.join(manifest)}")
    return manifest[name]


def missing_message(path: Path, manifest: Mapping[str, Published], directory: Path) -> str:
    """What to say of a missing file: where it is published, and where to put it."""
    for entry in manifest.values():
        if directory / entry.file == path:
            return (
                f"weights {path} do not exist; published by {entry.provenance} at {entry.url}; "
                f"put them there, or run: python -m scripts.weights fetch {entry.name}"
            )
    return f"weights {path} do not exist"


def verify(entry: Published, directory: Path) -> str:
    """The checksum of a file on disk, compared with the manifest's or the pinned one.

    Raises:
        UserError: the file is missing, or its checksum is another.
    """
    path = directory / entry.file
    if not path.is_file():
        raise UserError(f"{path} does not exist; run: python -m scripts.weights fetch {entry.name}")
    found = file_sha256(path)
    wanted = _pins(directory).get(entry.name)
    if entry.member is None:
        wanted = entry.sha256 or wanted
    if wanted is not None and not found.startswith(wanted):
        raise UserError(f"{path} has sha256 {found}, want {wanted}; remove it and fetch it again")
    return found


def fetch(entry: Published, directory: Path, show: Callable[[str], None]) -> Path:
    """Download a file, continuing an interrupted download, check it and pin its checksum.

    Raises:
        UserError: the address cannot be reached, answers with a page instead of a file, or the
            checksum is another than the pinned one.
    """
    path = directory / entry.file
    if path.is_file():
        show(f"{path} is there already: sha256 {verify(entry, directory)}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _download(entry, part, show)
    if entry.member is not None:
        _extract(entry, part)
    found = file_sha256(part)
    wanted = (entry.sha256 if entry.member is None else None) or _pins(directory).get(entry.name)
    if wanted is not None and not found.startswith(wanted):
        part.unlink()
        raise UserError(f"{entry.url} gave a file with sha256 {found}, want {wanted}; nothing was kept")
    part.replace(path)
    pins = {**_pins(directory), entry.name: found}
    (directory / PINS).write_text(json.dumps(pins, indent=2) + "\n")
    show(f"{path}: sha256 {found}, pinned")
    return path


def _download(entry: Published, part: Path, show: Callable[[str], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if "text/html" in answer.headers.get("Content-Type", ""):
                raise UserError(f"{entry.url} answers with a web page, not a file; open it in a browser")
            continues = answer.status == 206
            length = answer.headers.get("Content-Length")
            total = int(length) + (have if continues else 0) if length else None
            show(
                f"{entry.url}: {'continuing at ' + str(have) if continues else 'starting'}, {total or '?'} bytes in all"
            )
            with part.open("ab" if continues else "wb") as file:
                shutil.copyfileobj(answer, file, CHUNK_BYTES)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is complete already
            raise UserError(
                f"{entry.url} answers {error.code} {error.reason}; put {part.stem} there by hand"
            ) from error
        return
    except OSError as error:
        raise UserError(f"{entry.url} cannot be reached ({error}); the same command continues the download") from error
    if total is not None and part.stat().st_size != total:
        raise UserError(
            f"{entry.url} ended after {part.stat().st_size} of {total} bytes; the same command continues the download"
        )


def _extract(entry: Published, part: Path) -> None:
    try:
        with zipfile.ZipFile(part) as archive:
            inside = next((name for name in archive.namelist() if Path(name).name == entry.member), None)
            if inside is None:
                raise UserError(f"{entry.url} holds no {entry.member}; it has {', '.join(archive.namelist()[:5])}")
            extracted = part.with_suffix(".member")
            with archive.open(inside) as source, extracted.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)
    except zipfile.BadZipFile as error:
        part.unlink()
        raise UserError(f"{entry.url} gave a damaged archive ({error}); nothing was kept") from error
    extracted.replace(part)


def _pins(directory: Path) -> dict[str, str]:
    path = directory / PINS
    return json.loads(path.read_text()) if path.is_file() else {}
