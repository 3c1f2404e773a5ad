"""Tensors of a checkpoint before they are read: what a pickle of PyTorch says of them, as data."""

import math
from dataclasses import dataclass

import torch

from checkpoints.pickles import Name, Placeholder

MOST_DIMENSIONS, LARGEST_NUMBER = 64, 2**63 - 1
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
NAMED_DTYPES = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "uint16", "uint32", "uint64")
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGE_DTYPES.values()} | {
    name: getattr(torch, name) for name in NAMED_DTYPES
}


@dataclass(frozen=True)
class Storage:
    """Numbers of a checkpoint, still in its file."""

    key: str
    dtype: torch.dtype
    length: int

    @property
    def num_bytes(self) -> int:
        return self.length * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint, still in its file: a view of a storage, as the file claims it."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def resolve_storage(identifier: object) -> Storage | Placeholder:
    """Make a `Storage` from a persistent id, unless it is none."""
    match identifier:
        case ("storage", Name(module, kind), str(key), _, int(length), *rest):
            known = module in STORAGE_MODULES and kind in STORAGE_DTYPES
            if known and length >= 0 and rest in ([], [None]):  # what may follow stood for a view, in 2017
                return Storage(key, STORAGE_DTYPES[kind], length)
    return Placeholder()


def construct_tensor(function: Name, arguments: tuple) -> object:
    """Make what a checkpoint calls `function` for: `StoredTensor`, and dictionaries. Nothing is called for the rest."""
    match function, arguments:
        case Name("collections", "OrderedDict"), ():
            return {}
        case Name("collections", "OrderedDict"), (list(pairs),):
            return {pair[0]: pair[1] for pair in pairs if _is_pair(pair)}
        case Name("torch", "Size"), (tuple(lengths),):
            return lengths
        case Name("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"), (tensor, *_):
            return tensor
        case Name("torch._tensor", "_rebuild_from_type_v2"), (Name() as inner, _, tuple(inner_arguments), *_):
            return construct_tensor(inner, inner_arguments)
        case Name("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"), (Storage() as storage, *rest):
            return _tensor(storage, storage.dtype, rest[:3], rest[5:])
        case (
            Name("torch._utils", "_rebuild_tensor_v3"),
            (Storage() as storage, offset, shape, stride, _, _, Name("torch", dtype), *rest),
        ) if dtype in DTYPES:
            return _tensor(storage, DTYPES[dtype], [offset, shape, stride], rest)
    return Placeholder()


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int)


def _tensor(storage: Storage, dtype: torch.dtype, view: list, metadata: list) -> StoredTensor | Placeholder:
    """Make a tensor, unless its view is none, or its metadata says that its numbers are conjugated or negated."""
    match view:
        case [offset, tuple(shape), tuple(stride)] if len(shape) == len(stride) <= MOST_DIMENSIONS:
            numbers = (offset, *shape, *stride)
            plain = all(type(number) is int and 0 <= number <= LARGEST_NUMBER for number in numbers)
            if plain and not any(metadata):
                return StoredTensor(storage, dtype, offset, shape, stride)
    return Placeholder()
