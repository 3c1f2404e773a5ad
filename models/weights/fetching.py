"""Fetching a published file: one process at a time, checked before it is put in place, never over another file."""

import fcntl
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from models.weights.downloads import Progress, Source, download, open_source
from models.weights.published import (
    PINS,
    Published,
    PublishedFile,
    expected_sha256,
    missing_files,
    read_pins,
    verify_file,
)
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import write_json

UNFINISHED = ".unfinished"
CHUNK_BYTES = 1 << 20
TRIES = 100
DAMAGED_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
Show = Callable[[str], None]


def check_disk(entries: Sequence[Published], directory: Path) -> tuple[int, int, int]:
    """Compare what is missing of entries with the free space: bytes to come, files of unknown size, bytes free.

    Raises:
        UserError: what is known does not fit.
    """
    missing = [(entry, file) for entry in entries for file in missing_files(entry, directory)]
    known = sum(file.size for _, file in missing if file.size is not None)
    unknown = sum(file.size is None for _, file in missing)
    free = _free_bytes(directory)
    begun = sum(path.stat().st_size for path in (directory / UNFINISHED).rglob("*") if path.is_file())
    if known > free + begun:
        raise UserError(
            f"{show_bytes(known)} are missing, but {directory} has {show_bytes(free)} free; "
            "make room, or name another place with --directory"
        )
    return known, unknown, free


def fetch_file(
    file: PublishedFile,
    directory: Path,
    mirror: str | None,
    show: Show,
    progress: Callable[[str], Progress],
) -> Path:
    """Fetch one file, from the first of its addresses that gives it; an interrupted download is continued.

    Args:
        mirror: the beginning of a mirror's addresses, see `models.weights.addresses.on_mirror`.
        show: called with lines for the user.
        progress: makes what is called with the bytes that are there and the bytes in all of a named download.

    Raises:
        UserError: no address gives the file, it is not what was published or pinned, or a file that is there is not.
    """
    path, unfinished = directory / file.file, directory / UNFINISHED / file.file
    with _alone(unfinished.with_name(f"{unfinished.name}.lock"), lambda: show(f"{path}: another fetch is at it")):
        if path.is_file():
            show(f"{path} is there already: sha256 {verify_file(file, directory)}")
            shutil.rmtree(unfinished, ignore_errors=True)
            return path
        failures = []
        for url in file.addresses:
            try:
                return _fetch_from(url, file, directory, mirror, show, progress)
            except UserError as error:
                _remove_empty(unfinished / str(file.addresses.index(url)))
                failures.append(str(error))
                if url != file.addresses[-1]:
                    show(f"{error}; trying {file.addresses[file.addresses.index(url) + 1]}")
        raise UserError(failures[0] if len(failures) == 1 else "; then ".join(failures))


def _fetch_from(
    url: str, file: PublishedFile, directory: Path, mirror: str | None, show: Show, progress: Callable[[str], Progress]
) -> Path:
    path = directory / file.file
    # A folder for each address, so that no part is continued from another one's.
    folder = directory / UNFINISHED / file.file / str(file.addresses.index(url))
    _make_folder(folder)
    downloaded = folder / (path.name if file.member is None else PurePosixPath(urlsplit(url).path).name)
    source = open_source(url, file.size, file.sha256, mirror)
    if not downloaded.is_file():
        show(f"{source.asked_at}: {'continuing' if list(folder.glob('*.part')) else 'starting'}")
        download(source, downloaded, path, _with_room(directory, progress(path.name)))
    _check_download(source, downloaded)
    if file.member is None:
        return _put_in_place(file, downloaded, directory, show)
    extracted = _extract(source, downloaded, file.member, folder / f"{path.name}.member")
    return _put_in_place(file, extracted, directory, show)


def _with_room(directory: Path, progress: Progress) -> Progress:
    """Stop a download whose size is known only when it starts, where it does not fit on the disk."""
    checked = False

    def report(done: int, total: int | None) -> None:
        nonlocal checked
        if not checked and total is not None and total - done > _free_bytes(directory):
            raise UserError(
                f"{show_bytes(total - done)} are to come, but {directory} has {show_bytes(_free_bytes(directory))} "
                "free; make room, or name another place with --directory"
            )
        checked = True
        progress(done, total)

    return report


def _check_download(source: Source, downloaded: Path) -> None:
    size = downloaded.stat().st_size
    if source.size is not None and size != source.size:
        downloaded.unlink()
        raise UserError(f"{source.url} gave {size} bytes, want {source.size}; nothing was kept")
    if source.sha256 is None:
        return
    actual = file_sha256(downloaded)
    if not actual.startswith(source.sha256):
        downloaded.unlink()
        raise UserError(f"{source.url} gave a file with sha256 {actual}, want {source.sha256}; nothing was kept")


def _extract(source: Source, archive_path: Path, member: str, extracted: Path) -> Path:
    """Take a member out of an archive, which stays as it is until the member is in its place."""
    try:
        with zipfile.ZipFile(archive_path) as archive:
            names = archive.namelist()
            inside = next((name for name in names if PurePosixPath(name).name == member), None)
            if inside is None:
                archive_path.unlink()
                raise UserError(f"{source.url} holds no {member}; it has {', '.join(names[:5]) or 'nothing'}")
            with archive.open(inside) as reader, extracted.open("wb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK_BYTES)
    except DAMAGED_ARCHIVE as error:
        archive_path.unlink()
        extracted.unlink(missing_ok=True)
        raise UserError(f"{source.url} gave a damaged archive ({error}); nothing was kept") from error
    return extracted


def _put_in_place(file: PublishedFile, checked: Path, directory: Path, show: Show) -> Path:
    """Compare a whole file with the pinned checksum, pin it, move it to where a pair looks for it."""
    path, actual, wanted = directory / file.file, file_sha256(checked), expected_sha256(file, directory)
    if wanted is not None and not actual.startswith(wanted):
        checked.unlink()
        raise UserError(f"{file.url} gave {path.name} with sha256 {actual}, want {wanted}; nothing was kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(directory / UNFINISHED / f"{PINS}.lock", lambda: None):
        write_json(directory / PINS, {**read_pins(directory), file.file: actual})
    checked.replace(path)
    shutil.rmtree(directory / UNFINISHED / file.file, ignore_errors=True)
    show(f"{path}: sha256 {actual}, pinned")
    return path


def _make_folder(folder: Path) -> None:
    """Make a folder that another process may remove, empty, at any time: pathlib takes that for a file in its place."""
    for _ in range(TRIES):
        with suppress(FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def _alone(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file for this process, waiting while another one holds it; the lock ends with the process."""
    while True:
        _make_folder(lock.parent)
        try:
            file = lock.open("a")
        except FileNotFoundError:  # another process has just removed the empty folder
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        # The one who held it has removed it, and somebody else may hold another file of this name by now.
        if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
            break
        file.close()
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()
        _remove_empty(lock.parent)


def _remove_empty(folder: Path) -> None:
    """Remove a folder below `UNFINISHED`, and those that hold it, as far as they are empty."""
    with suppress(OSError):
        while UNFINISHED in folder.parts:
            folder.rmdir()
            folder = folder.parent


def _free_bytes(directory: Path) -> int:
    existing = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def show_bytes(count: int) -> str:
    """Write a number of bytes for people: 334.6 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
