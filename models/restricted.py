"""Read a checkpoint that holds more than tensors without executing anything from it.

Tensors and plain containers come through; any other object becomes an inert placeholder.
"""

import collections
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import torch
from torch import Tensor

ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}


class Placeholder:
    """Stands for an object of the file. It takes whatever unpickling does to it, and does nothing."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __new__(cls, *args: object, **kwargs: object) -> "Placeholder":
        return super().__new__(cls)

    def __call__(self, *args: object, **kwargs: object) -> "Placeholder":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass


class RestrictedUnpickler(pickle.Unpickler):
    """Resolves the names that tensors are made of, and `Placeholder` for every other."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "torch" and name.endswith("Storage") and hasattr(torch, name):
            return getattr(torch, name)
        return Placeholder


def read_restricted(path: Path) -> object:
    """Load a `.pt` or `.ckpt` of any content, on the CPU."""

    def load(file: BinaryIO, **kwargs: object) -> object:
        return RestrictedUnpickler(file, **kwargs).load()

    module = SimpleNamespace(__name__="restricted", Unpickler=RestrictedUnpickler, load=load)
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)


def tensors_only(value: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: its `state_dict` or `ema` where it has one, else its own entries."""
    if isinstance(value, dict):
        for key in ("state_dict", "ema"):
            if isinstance(value.get(key), dict):
                return tensors_only(value[key])
        return {key: entry for key, entry in value.items() if isinstance(key, str) and isinstance(entry, Tensor)}
    return {}
