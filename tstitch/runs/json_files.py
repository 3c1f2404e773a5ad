"""JSON objects in files: read with one check, written atomically."""

import json
import re
from pathlib import Path

from tstitch.errors import UserError, explain_no_file
from tstitch.runs.atomic import write_atomically

PLAIN_LIST = re.compile(r"\[\n([^][{}]*?)\n *\]")  # of indented JSON


def read_json(path: Path) -> dict:
    """Read a file that holds a JSON object; NaN and Infinity, which Python writes, are read too.

    Raises:
        UserError: it is no text in UTF-8, no JSON, or another value than an object.
        OSError: there is no such file, or it cannot be read.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} {explain_no_file(path)}")
    content = parse_json(path.read_bytes(), path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, got {show_value(content)}")
    return content


def parse_json(data: bytes, path: Path) -> object:
    """Parse JSON that was read from `path`; `UserError`, which names the file, where it is none."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON: it is no text in UTF-8 ({error.reason})") from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid JSON: its lists and objects lie too deep in one another") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error if data.strip() else 'it is empty'}") from error


def write_json(path: Path, value: dict) -> None:
    """Write indented JSON atomically, a list of plain values in one line."""
    # No line break is inside a string, which has them escaped.
    text = PLAIN_LIST.sub(_in_one_line, json.dumps(value, indent=2))
    write_atomically(path, f"{text}\n".encode())


def show_value(value: object) -> str:
    """Write a value as JSON, cut to what a line can hold."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _in_one_line(values: re.Match) -> str:
    return f"[{' '.join(line.strip() for line in values[1].splitlines())}]"
