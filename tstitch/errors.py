"""The one exception that means: the user can fix this. And how to tell that memory ran out."""

import sys
from pathlib import Path

# PyTorch's host allocator, a CUDA call outside its GPU allocator (pinned memory, a context), cuBLAS and cuDNN.
MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


class UserError(ValueError):
    """A value the user gave cannot be used.

    The message is a single line that names the value and what would be accepted. Command-line
    tools print it on stderr and exit with code 2; library callers see an ordinary `ValueError`.
    """


def explain_no_file(path: Path, are_many: bool = False) -> str:
    """Say why a path that must be a file is none, for a message that begins with the path, or with weights."""
    if not path.exists():
        return "do not exist" if are_many else "does not exist"
    kind = "a directory, not a file" if path.is_dir() else "no regular file"
    return f"{'are' if are_many else 'is'} {kind}"


def explain_system_error(error: OSError) -> str:
    """Write an error of the operating system without its number."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def explain_error(error: BaseException, longest: int = 200) -> str:
    """Write an error of another package in one line, in its own words; a missing key of Python's has no others."""
    said = " ".join(str(error).split())
    if isinstance(error, KeyError) and error.args:
        said = f"the key {error.args[0]!r} is missing"
    return (said or f"{type(error).__name__} without a message")[:longest]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory of the host or of a GPU ran out. Does not import PyTorch, which may not be loaded yet."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_MESSAGES)
