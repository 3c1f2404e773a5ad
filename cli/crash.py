"""The last resort: an exception that nobody expected ends in one line, and a file keeps the rest."""

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path

DEBUG = "TSTITCH_DEBUG"
PACKAGES = ("torch", "diffusers", "numpy", "hydra-core", "pydantic", "transformers")


def report_crash(error: Exception) -> str:
    """Write a log file of an unexpected exception and return the line that names it.

    The file lies in `runs/errors` of the working directory, or where that cannot be written in the temporary directory.
    """
    said = " ".join(str(error).split()) or "without a message"
    path = _write_log("".join([*_circumstances(), *traceback.format_exception(error)]))
    kept = f"its traceback is in {path}" if path else f"{DEBUG}=1 shows its traceback"
    return f"unexpected {type(error).__name__}: {said}; {kept}"


def _circumstances() -> list[str]:
    lines = [
        f"command: {shlex.join([sys.executable, *sys.argv])}",
        f"directory: {Path.cwd()}",
        f"python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {_version(name)}" for name in PACKAGES),
    ]
    return [f"{line}\n" for line in [*lines, ""]]


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # what goes well does not wait for it

    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _write_log(text: str) -> Path | None:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for directory in (Path("runs/errors"), Path(tempfile.gettempdir())):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8", errors="replace")
        except OSError:
            continue
        return directory / name
    return None
