"""Checksums of files."""

import hashlib
from functools import lru_cache
from pathlib import Path

# A file of this size takes longer to read than the tick of a file system's clock lasts (10 ms at most), so whoever
# writes to it after that leaves another time of change.
LARGE = 1 << 26


def file_sha256(path: Path) -> str:
    """Compute the hexadecimal SHA-256 of a file. A large one is read once in a process, unless it changes."""
    status = path.stat()
    if status.st_size < LARGE:
        return _sha256(path)
    return _remembered(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=64)
def _remembered(path: Path, inode: int, size: int, modified_ns: int, changed_ns: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
