"""Arrays in the idx format of the MNIST family, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from tstitch.errors import UserError

MAGIC_OF_BYTES = 8  # the third byte of the magic number; the fourth is the number of dimensions


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    Raises:
        UserError: the file is cut, damaged, or of another format.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(content) < 4 or content[:3] != bytes((0, 0, MAGIC_OF_BYTES)):
        raise UserError(f"{path} is no idx file of unsigned bytes; it begins with {content[:4].hex() or 'nothing'}")
    offset = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:offset], ">u4").astype(int).tolist() if len(content) >= offset else []
    if len(shape) != content[3] or len(content) - offset != np.prod(shape, dtype=int):
        raise UserError(f"{path} holds {max(0, len(content) - offset)} bytes of values; its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
