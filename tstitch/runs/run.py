"""A run: a directory whose identity comes from its configuration, never from the clock."""

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tstitch.errors import UserError
from tstitch.runs.atomic import naming
from tstitch.runs.json_files import write_json
from tstitch.runs.record import RECORD, identity_hash, read_record
from tstitch.runs.shards import Block, blocks, merge_shards, npz_comment, remove_temporaries

LOCK = ".lock"


@dataclass(frozen=True)
class Run:
    """A sampling run on disk.

    `identity` holds everything that decides the bytes of the images; `run.json` holds it together
    with facts such as versions and the allocation.
    """

    directory: Path
    identity: dict

    @property
    def id(self) -> str:
        return identity_hash(self.identity)

    @property
    def record(self) -> Path:
        return self.directory / RECORD

    @property
    def shards(self) -> Path:
        return self.directory / "shards"

    @property
    def samples(self) -> Path:
        return self.directory / "samples.npz"

    @property
    def blocks(self) -> list[Block]:
        return blocks(self.identity["num_images"], self.identity["batch_size"])


def check_run(run: Run) -> None:
    """Raise `UserError` where the directory cannot be written or holds something else than this run."""
    if run.record.is_file():
        different = differing_keys(read_record(run.record)["identity"], run.identity)
        if different:
            raise UserError(
                f"{run.directory} holds another run; it differs in {', '.join(different)}; give another out="
            )
    elif run.directory.is_dir() and any(path.name[0] != "." for path in run.directory.iterdir()):
        raise UserError(f"{run.directory} is not empty and holds no run.json; give another out=")
    existing = _existing(run.directory)
    if not existing.is_dir():
        raise UserError(f"cannot create {run.directory}: {existing} is a file")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a run's directory for this process; the lock ends with the process, however it ends.

    A directory in which nothing was made is removed again.

    Raises:
        UserError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"{directory} is in use by another launch ({holder}); wait for it or give another out="
            ) from error
        with naming(directory / LOCK):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        try:
            yield
        finally:
            if [path.name for path in directory.iterdir()] == [LOCK]:
                (directory / LOCK).unlink()
                with suppress(OSError):
                    directory.rmdir()


def open_run(run: Run, facts: dict) -> None:
    """Create the directory and write `run.json`.

    What an earlier launch of this run measured stays in it. A finished run keeps the facts of where it was made.
    """
    check_run(run)
    run.directory.mkdir(parents=True, exist_ok=True)
    earlier = read_record(run.record) if run.record.is_file() else {}
    # The record comes first: a directory with anything else but no record is not taken for a run.
    new = {} if earlier and run.samples.exists() else facts
    write_json(run.record, {**earlier, "run_id": run.id, "identity": run.identity, **new})
    run.shards.mkdir(exist_ok=True)
    for directory in (run.directory, run.shards):
        remove_temporaries(directory)


def merge_run(run: Run) -> bool:
    """Write `samples.npz` from the shards, unless it is there already; True where it was written.

    Raises:
        UserError: a shard is missing or damaged, or the disk lacks the space.
    """
    if npz_comment(run.samples) == run.id:
        return False
    size = sum((run.shards / block.name).stat().st_size for block in run.blocks if (run.shards / block.name).exists())
    check_space(run.directory, size, "the merged samples.npz")
    merge_shards(run.shards, run.blocks, run.id, run.samples)
    return True


def check_space(directory: Path, needed: int, what: str) -> None:
    """Raise `UserError` where the file system of `directory` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(_existing(directory)).free
    if free < needed:
        raise UserError(
            f"{directory} has {free / 1e6:,.0f} MB free, but {what} needs {needed / 1e6:,.0f} MB; "
            "free some or give another out="
        )


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def load_run(directory: Path) -> Run:
    """Read the run in a directory.

    Raises:
        UserError: there is no run, or its record is damaged.
    """
    record = directory / RECORD
    if not record.is_file():
        raise UserError(f"{directory} holds no run (no run.json); give the directory of a sampling run")
    identity = read_record(record)["identity"]
    if not {"num_images", "batch_size"} <= identity.keys():
        raise UserError(f"{record} is not the record of a sampling run: its identity lacks num_images or batch_size")
    return Run(directory, identity)


def differing_keys(
    first: dict, second: dict, prefix: str = "", places: tuple[str, str] = ("there", "here")
) -> list[str]:
    """List the dotted keys whose values differ between two nested configurations, with both values."""
    differences = []
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differences += differing_keys(a, b, f"{prefix}{key}.", places)
        elif a != b:
            differences.append(f"{prefix}{key} ({a} {places[0]}, {b} {places[1]})")
    return differences
