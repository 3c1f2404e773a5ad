"""The record of a run, `run.json`: what each of its fields must be. Fields of a later version are left alone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, show_value

RECORD = "run.json"


def identity_hash(identity: dict) -> str:
    """Return twelve hexadecimal digits that stand for a configuration."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def read_record(path: Path) -> dict:
    """Read the record of a run. A field may be missing, as in a run that is not finished, but has its type if not.

    Raises:
        UserError: it is no record of a run, a field is of another type, or the identity is not that of the run's id.
    """
    record = read_json(path)
    if "identity" not in record:
        raise UserError(f"{path} is not the record of a sampling run: it lacks identity")
    _check(path, record, FIELDS)
    _check(path, record["identity"], COUNTS, "identity.")
    run_id = record.get("run_id")
    if run_id is not None and run_id != identity_hash(record["identity"]):
        raise UserError(f"{path} was changed after it was written: its identity is not that of run_id {run_id}")
    return record


def require_fields(path: Path, record: dict, *keys: str) -> list:
    """Return fields of a record that was read from `path`; `UserError` for the first that is missing."""
    for key in keys:
        if key not in record:
            raise UserError(f"{path}: {key} is missing; it must be {FIELDS[key][0]}; the sampling command writes it")
    return [record[key] for key in keys]


def _check(path: Path, values: dict, fields: dict[str, tuple[str, Callable[[object], bool]]], prefix: str = "") -> None:
    for key, (wanted, accepts) in fields.items():
        if key in values and not accepts(values[key]):
            raise UserError(f"{path}: {prefix}{key} must be {wanted}, got {show_value(values[key])}")


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


def _is_object_of_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


OBJECT, NUMBERS = ("an object", _is_object), ("an object of numbers of 0 or more", _is_object_of_numbers)
COUNT, TEXT = ("a whole number of 1 or more", _is_count), ("text", _is_text)
FIELDS = {
    "run_id": TEXT,
    "identity": OBJECT,
    "num_steps": COUNT,
    "device_name": TEXT,
    "versions": OBJECT,
    "evaluation": OBJECT,
    "captions": ("a list of texts", _is_list_of_texts),
    "seconds": NUMBERS,
    "evaluations": NUMBERS,
    "peak_memory_mb": NUMBERS,
}
COUNTS = {"num_images": COUNT, "batch_size": COUNT}
