"""The byte formats of `torch.save`, and classes of packages that are not installed here."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
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
    """A class of a package that is not installed, for as long as a file that names it is written."""
    assert find_spec(module.partition(".")[0]) is None, "an installed class would be replaced"
    parts = module.split(".")
    made = [".".join(parts[: end + 1]) for end in range(len(parts))]
    made = [path for path in made if path not in sys.modules]
    for path in made:
        sys.modules[path] = ModuleType(path)
    kind = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, kind)
    try:
        yield kind
    finally:
        for path in made:
            del sys.modules[path]
