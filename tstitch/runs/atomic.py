"""Files that are written whole or not at all: under a temporary name, synced, renamed; an error names the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    Raises:
        OSError: it cannot be written, as on a full disk; the error names it, and what was there stays.
    """
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` at the end of the block, and on an error is removed."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; the file takes its place at the end, synced.

    On an error the file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path, temporary):
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an operating system's error inside the block name the file: a write that fails has no name of its own.

    Args:
        temporary: another name of the file, which the user does not know.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
