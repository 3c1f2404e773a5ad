"""The byte formats of `torch.save`, and classes of packages that are not installed here."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor


def save(content: object, path: Path, legacy: bool = False) -> Path:
    """Write a file as `torch.save` does: a zip archive, or as it did by default before PyTorch 1.6, of July 2020.

    Looked up: documentation of `torch.save` (`_use_new_zipfile_serialization`), release notes of PyTorch 1.6.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def random_values(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random numbers for the weights of a network by name, sized so that activations stay finite; norms scale by 1."""
    generator, values = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        is_scale = len(shape) == 1 and name.endswith("weight")
        values[name] = 1 + 0.1 * value if is_scale else value * max(1, value[0].numel()) ** -0.5
    return values


@contextmanager
def foreign_class(module: str, name: str) -> Iterator[type]:
    """A class of another package, installed or not, for as long as a file that names it is written."""
    parts = module.split(".")
    paths = [".".join(parts[: end + 1]) for end in range(len(parts))]
    replaced = {path: sys.modules[path] for path in paths if path in sys.modules}
    for path in paths:
        sys.modules[path] = ModuleType(path)
    kind = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, kind)
    try:
        yield kind
    finally:
        for path in paths:
            del sys.modules[path]
        sys.modules.update(replaced)
