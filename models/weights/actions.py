"""Actions on published weights: list, fetch, verify; and convert old checkpoints to safetensors."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from checkpoints.read import all_tensors_of, read_checkpoint
from models.checkout import ROOT
from models.weights.catalog import WEIGHTS_DIR, describe, load_manifest
from models.weights.published import Published, verify
from tstitch.errors import UserError, explain_no_file
from tstitch.runs.atomic import replacing
from tstitch.runs.outputs import check_output


def verify_all(entries: Sequence[Published], directory: Path) -> None:
    elsewhere, failures = "" if directory == WEIGHTS_DIR else f" --directory {shlex.quote(str(directory))}", []
    for entry in entries:
        try:
            for file, digest in verify(entry, directory, elsewhere).items():
                print(f"{entry.name}: {file} sha256 {digest}")
        except UserError as error:
            failures.append(str(error))
    _stop_if_any(failures, len(entries), "verify")


def fetch_all(entries: Sequence[Published], directory: Path, mirror: str | None) -> None:
    """State sizes and licences, then fetch file after file; what fails does not stop the others."""
    from models.weights.addresses import check_mirror
    from models.weights.fetching import check_disk, fetch_file, show_bytes
    from tstitch.runs.progress import Bytes

    check_mirror(mirror)
    if not entries:
        print("nothing to fetch: everything of it ships with the code")
        return
    for entry in entries:
        print("\n".join(describe(entry, directory)))
    size, unknown, free = check_disk(entries, directory)
    sizes = f"{show_bytes(size)} to come" + (f" and {unknown} files of unknown size" if unknown else "")
    print(f"in all: {sizes}, {show_bytes(free)} free; by fetching you accept: {', '.join(_licenses(entries))}")
    failures, display = [], Bytes()
    for entry in entries:
        for file in entry.files:
            try:
                fetch_file(file, directory, mirror, print, display.start)
            except (UserError, OSError) as error:
                failures.append(f"{entry.name}: {error}{_second_source(entry, directory)}")
            finally:
                display.stop()
    _stop_if_any(failures, sum(len(entry.files) for entry in entries), "fetch")


def _licenses(entries: Sequence[Published]) -> list[str]:
    return list(dict.fromkeys(entry.license for entry in entries))


def _second_source(entry: Published, directory: Path) -> str:
    for other in load_manifest().values():
        if other.stands_in_for == entry.name:
            return (
                f"; or take its second source: python -m scripts.weights fetch {other.name}, "
                f"then set that denoiser's path={directory / other.path}".replace(f"{ROOT}/", "")
            )
    return ""


def _stop_if_any(failures: Sequence[str], num_files: int, command: str) -> None:
    """End with the one failure, or list several on stderr and end with their number."""
    if len(failures) == 1:
        raise UserError(failures[0])
    if failures:
        print(*(f"error: {' '.join(failure.split())}" for failure in failures), sep="\n", file=sys.stderr)
        raise UserError(f"{len(failures)} of {num_files} failed; the same {command} goes on with them")


def convert(source: Path, destination: Path) -> None:
    """Write the tensors of any `.pt` or `.ckpt` as safetensors; nothing in the file is executed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if not source.is_file():
        raise UserError(f"{source} {explain_no_file(source)}; give a .pt or .ckpt file")
    if destination.suffix != ".safetensors":
        raise UserError(f"the destination must end in .safetensors, got {destination}")
    check_output(destination, "converted weights", [source])
    if source.suffix == ".safetensors":
        raise UserError(f"{source} is a .safetensors file already; give a .pt or .ckpt file")
    try:
        tensors = read_checkpoint(source, all_tensors_of)
    except UserError as error:
        reason = str(error).removeprefix(f"weights {source} ")
        raise UserError(f"{source} is not a checkpoint of PyTorch: it {reason}") from error
    if not tensors:
        raise UserError(f"{source} holds no tensors by name")
    # Copies, because safetensors refuses tensors that share memory, as tied weights in a checkpoint do.
    copies = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    destination.parent.mkdir(parents=True, exist_ok=True)
    with replacing(destination) as temporary:
        try:
            save_file(copies, temporary)
        except SafetensorError as error:  # of the operating system: the names and the tensors are sound
            raise UserError(f"cannot write {destination}: {error}") from error
    print(f"{destination}: {len(tensors)} tensors")
