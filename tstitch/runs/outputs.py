"""Files that commands write: an output replaces neither an input nor a file of another kind."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tstitch.errors import UserError

LARGEST_TEXT = 1 << 28  # bytes; what is larger is not read to see that it is no text of ours


def check_output(path: Path, kind: str, inputs: Iterable[Path] = (), beside: Iterable[Path] = ()) -> None:
    """Check that a command may write `path`. Cheap: call it before the work.

    Args:
        path: what will be written.
        kind: of `KINDS`. An earlier file of this kind is replaced.
        inputs: files that the command reads.
        beside: what will be written with it; present without `path`, these are somebody else's.

    Raises:
        UserError: `path` is a directory, an input, or a file of another kind, or cannot be written where it is.
    """
    check_writable(path)
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a file to write {kind} to")
    if not path.exists():
        foreign = next((companion for companion in beside if companion.exists()), None)
        if foreign is not None:
            raise UserError(f"{foreign} is there without {path.name} and would be replaced; give another out=")
        return
    if any(source.exists() and path.samefile(source) for source in inputs):
        raise UserError(f"{path} is read by this command and would be replaced by {kind}; give another out=")
    if not KINDS[kind](path):
        raise UserError(f"{path} is there and is not {kind}; give another out=, or remove it")


def check_writable(path: Path, key: str = "out") -> None:
    """Raise `UserError` where no file can be made in the directory of `path`, or in the one that would hold it.

    Args:
        key: of the setting that names the place, for the message.
    """
    directory = next(place for place in path.absolute().parents if place.exists())
    if not directory.is_dir():
        raise UserError(f"cannot create {path}: {directory} is a file")
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(
            f"cannot create {path}: {directory} takes no files ({error.strerror}); give another {key}="
        ) from error


def check_directory(directory: Path, kind: str, names: Iterable[str]) -> None:
    """Check that a command may write files of a kind to a directory: it has some of `names`, or nothing yet."""
    if directory.is_dir() and not any((directory / name).is_file() for name in names):
        foreign = next((path for path in directory.iterdir() if path.name[0] != "."), None)
        if foreign is not None:
            raise UserError(
                f"{directory} is not empty and holds no {kind} ({foreign.name} is there); give another out="
            )


def _json_with(*keys: str) -> Callable[[Path], bool]:
    def is_alike(path: Path) -> bool:
        with suppress(ValueError, RecursionError):
            content = json.loads(_text(path))
            return isinstance(content, dict) and content.keys() >= set(keys)
        return False

    return is_alike


def _either(*kinds: Callable[[Path], bool]) -> Callable[[Path], bool]:
    return lambda path: any(is_alike(path) for is_alike in kinds)


def _text_with(start: str, also: str = "") -> Callable[[Path], bool]:
    def is_alike(path: Path) -> bool:
        text = _text(path)
        return text.startswith(start) and also in text

    return is_alike


def _npz_with(*names: str) -> Callable[[Path], bool]:
    def is_alike(path: Path) -> bool:
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in names} <= set(archive.namelist())
        return False

    return is_alike


def _is_safetensors(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    with suppress(SafetensorError), safe_open(path, "pt"):
        return True
    return False


def _text(path: Path) -> str:
    """Return the text of a file; empty where it is none, or too large for one of ours."""
    with suppress(UnicodeDecodeError):
        return path.read_text() if path.stat().st_size <= LARGEST_TEXT else ""
    return ""


KINDS: dict[str, Callable[[Path], bool]] = {
    "the result of an evaluation": _json_with("metrics", "protocol"),
    "a latency measurement": _either(_json_with("pair", "batches"), _json_with("pair", "modes")),
    "an analysis": _json_with("identity", "found"),
    "a sweep": _json_with("points", "protocol"),
    "a choice": _json_with("ms", "allocation"),
    "a report": _text_with("<!doctype html", also="<title>Trajectory stitching"),
    "a summary": _text_with("# Trajectory stitching"),
    "a table": _text_with("## ", also="python -m scripts.table"),
    "a comparison of pairs": _text_with("## What decides how far a pair stitches well"),
    "a comparison of ways to mix": _text_with("## Which wins where"),
    "a comparison of numbers of models": _text_with("## What each model more gains"),
    "a list of tables": _text_with("# The paper's tables and figures"),
    "a reference": _npz_with("mu", "sigma", "extractor"),  # made here; ADM's have no `extractor`
    "converted weights": _is_safetensors,
}
