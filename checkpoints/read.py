"""Checkpoints of PyTorch (`.pt`, `.pth`, `.ckpt`, `.bin`) read as data: nothing in the file is executed.

`torch.load` is not used: without `weights_only` it runs the file, in a TorchScript archive it runs `torch.jit.load`,
and with `weights_only` it refuses what published checkpoints hold beside their tensors.
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from checkpoints.files import CheckpointFile, UnreadableCheckpointError, open_checkpoint
from checkpoints.pickles import UnreadablePickleError
from checkpoints.stored_tensors import StoredTensor
from tstitch.errors import UserError, explain_error

WRAPPERS = ("ema", "state_dict", "model")
MOST_SHARING = 8  # how often the bytes of a file may be used; tied weights use some of them twice

Choose = Callable[[object], Mapping[str, StoredTensor]]


class NoStateDictError(Exception):
    """A checkpoint whose content is something else than tensors by name."""


def read_checkpoint(path: Path, choose: Choose) -> dict[str, Tensor]:
    """Read tensors of a checkpoint on the CPU; whatever else the file holds stays unread and nothing of it runs.

    Args:
        choose: from the content of the file to the tensors to read, by name. Containers of the content are plain
            dictionaries, lists and tuples, its tensors `StoredTensor`, its other objects `Placeholder`.

    Raises:
        UserError: the file is truncated, damaged, of another kind, a program (TorchScript), or makes false claims.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            checkpoint = open_checkpoint(file, size)
            chosen = choose(checkpoint.content)
            return _load(checkpoint, chosen, size)
    except NoStateDictError as error:
        raise UserError(f"weights {path} hold {error}") from error
    except (UnreadableCheckpointError, UnreadablePickleError, zipfile.BadZipFile) as error:
        reason = explain_error(error)
    except Exception as error:  # on garbage the zip reader raises nearly anything, NotImplementedError included
        reason = explain_error(error)
    raise UserError(f"weights {path} cannot be read (truncated, or of another kind): {reason}")


def state_dict_of(content: object) -> Mapping[str, StoredTensor]:
    """Choose the state dict of a checkpoint: plain, or under `ema`, else `state_dict`, else `model`.

    A training checkpoint of DiT has `model` and `ema`, and `ema` is what samples.

    Raises:
        NoStateDictError: there is none, or it holds something else than tensors.
    """
    state = _unwrapped(content)
    wanted = f"want tensors by name, plain or under {', '.join(WRAPPERS[:-1])} or {WRAPPERS[-1]}"
    if not state:
        raise NoStateDictError(f"no state dict; {wanted}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            shown = repr(key[:80]) if isinstance(key, str) else "without a name"
            raise NoStateDictError(f"no state dict, because the entry {shown} is no tensor; {wanted}")
    return state


def all_tensors_of(content: object) -> Mapping[str, StoredTensor]:
    """Choose the tensors of the same state dict, and leave out its other entries."""
    entries = _unwrapped(content).items()
    return {key: value for key, value in entries if isinstance(key, str) and isinstance(value, StoredTensor)}


def _unwrapped(content: object) -> dict:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    return content if isinstance(content, dict) else {}


def _load(checkpoint: CheckpointFile, chosen: Mapping[str, StoredTensor], size: int) -> dict[str, Tensor]:
    storages = {tensor.storage for tensor in chosen.values()}
    for key, tensor in chosen.items():
        _check_view(key, tensor)
    if sum(storage.num_bytes for storage in storages) > size:
        raise UnreadableCheckpointError(f"its storages claim more bytes than the {size} of the file")
    if sum(tensor.num_bytes for tensor in chosen.values()) > MOST_SHARING * size:
        raise UnreadableCheckpointError(f"its tensors take more than {MOST_SHARING} times the {size} bytes of the file")
    loaded = {storage: checkpoint.read(storage) for storage in storages}
    return {key: _view(tensor, loaded[tensor.storage]) for key, tensor in chosen.items()}


def _check_view(key: str, tensor: StoredTensor) -> None:
    """Check that a view stays inside its storage: nothing else keeps it from reading foreign memory."""
    if tensor.num_bytes == 0:
        return
    steps = zip(tensor.shape, tensor.stride, strict=True)
    end = tensor.offset + 1 + sum((length - 1) * stride for length, stride in steps)
    if end * tensor.dtype.itemsize > tensor.storage.num_bytes:
        raise UnreadableCheckpointError(f"the tensor {key[:80]!r} reaches beyond its storage")


def _view(tensor: StoredTensor, storage: Tensor) -> Tensor:
    if tensor.num_bytes == 0:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    whole = storage[: storage.numel() // tensor.dtype.itemsize * tensor.dtype.itemsize].view(tensor.dtype)
    return whole.as_strided(tensor.shape, tensor.stride, tensor.offset)
