"""Damage of JSON files for tests: of the bytes, of the top, and of every field at any depth."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

GARBAGE = bytes(range(256)) * 8
WRONG = (None, "text", -7, [], {}, float("nan"), [None], True)
MOST_ENTRIES = 2  # of a list: the entries after these have the layout of these


def damaged_bytes(content: bytes) -> dict[str, bytes]:
    """Make what a file may turn into: cut, empty, of another kind, or JSON of another type at the top."""
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "cut at the end": content[:-2],
        "binary": GARBAGE,
        "not UTF-8": content[: len(content) // 2] + b"\xff\xfe" + content[len(content) // 2 :],
        **{f"top {top}": top.encode() for top in ("[]", "3", "null", '"text"', "NaN", "{}", "[{}]")},
        "deep": b"[" * 100_000,
    }


def damaged_fields(content: object) -> Iterator[tuple[str, object]]:
    """Yield the content with one field removed, or given another type; the first entries of lists among them."""
    for place in _places(content):
        for wrong in ("removed", *WRONG):
            changed = copy.deepcopy(content)
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            if wrong == "removed":
                del holder[place[-1]]
            else:
                holder[place[-1]] = wrong
            if changed != content:
                yield f"{'.'.join(map(str, place))} {wrong!r}", changed


def _places(content: object, prefix: tuple = ()) -> Iterator[tuple]:
    if isinstance(content, dict):
        entries = list(content.items())
    elif isinstance(content, list):
        entries = list(enumerate(content[:MOST_ENTRIES]))
    else:
        return
    for key, value in entries:
        yield (*prefix, key)
        yield from _places(value, (*prefix, key))


def write_damaged(path: Path, content: object) -> None:
    """Write JSON as Python does, with NaN in it where there is one."""
    path.write_text(json.dumps(content))
