"""A run: a directory whose identity comes from its configuration, never from the clock."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tstitch.errors import UserError
from tstitch.shards import Block, blocks, write_atomically


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
    def shards(self) -> Path:
        return self.directory / "shards"

    @property
    def samples(self) -> Path:
        return self.directory / "samples.npz"

    @property
    def blocks(self) -> list[Block]:
        return blocks(self.identity["num_images"], self.identity["batch_size"])


def identity_hash(identity: dict) -> str:
    """Twelve hexadecimal digits that stand for a configuration."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def check_run(run: Run) -> None:
    """Raise `UserError` where the directory cannot be written or holds something else than this run."""
    record = run.directory / "run.json"
    if record.is_file():
        different = differing_keys(read_json(record).get("identity", {}), run.identity)
        if different:
            raise UserError(
                f"{run.directory} holds another run; it differs in {', '.join(different)}; give another out="
            )
    elif run.directory.is_dir() and any(run.directory.iterdir()):
        raise UserError(f"{run.directory} is not empty and holds no run.json; give another out=")
    existing = next(path for path in (run.directory, *run.directory.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"cannot create {run.directory}: {existing} is a file")


def open_run(run: Run, facts: dict) -> None:
    """Create the directory and write `run.json`, unless this very run is there already."""
    check_run(run)
    run.shards.mkdir(parents=True, exist_ok=True)
    write_json(run.directory / "run.json", {"run_id": run.id, "identity": run.identity, **facts})


def load_run(directory: Path) -> Run:
    """The run in a directory.

    Raises:
        UserError: there is no run.
    """
    record = directory / "run.json"
    if not record.is_file():
        raise UserError(f"{directory} holds no run (no run.json); give the directory of a sampling run")
    identity = read_json(record).get("identity")
    if not isinstance(identity, dict) or not {"num_images", "batch_size"} <= identity.keys():
        raise UserError(f"{record} is not the record of a sampling run")
    return Run(directory, identity)


def differing_keys(first: dict, second: dict, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two nested configurations, with both values."""
    found = []
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} ({a} there, {b} here)")
    return found


def read_json(path: Path) -> dict:
    """Read a JSON object; `UserError` where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def write_json(path: Path, value: dict) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())
