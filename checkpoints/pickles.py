"""Pickles read as data: no name in them is looked up, and nothing in them is called.

The opcodes come from `pickletools`, which decodes them without acting on them. What an opcode would make of the
file's own classes is a `Placeholder`; only the calls that the caller of `read_pickle` knows give more.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from tstitch.errors import explain_error

LONGEST_LINE = 1 << 16  # bytes of an argument that ends with its line: a name, or a number in digits
MOST_OPCODES = 10_000_000  # the largest published checkpoints have a hundred thousand

Key = str | int | float | bytes | None


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; the name is all that is read of it."""

    module: str
    name: str


class Placeholder:
    """Stand-in for an object that is not read. It has no content and does nothing."""


Construct = Callable[[Name, tuple], object]
Resolve = Callable[[object], object]


class UnreadablePickleError(Exception):
    """A pickle that ends early, contradicts itself, or uses what no checkpoint uses."""


def read_pickle(file: BinaryIO, size: int, construct: Construct, resolve: Resolve) -> object:
    """Read one pickle from the position of `file`, and leave `file` behind its last byte.

    Dictionaries, lists, tuples, strings, bytes, numbers and None come as they are; sets and objects as `Placeholder`.

    Args:
        size: the bytes of the file; no argument of an opcode can be longer.
        construct: from the name of a callable and its arguments to the object, or to a `Placeholder`.
        resolve: from a persistent id to the object.

    Raises:
        UnreadablePickleError: the bytes are no pickle of this kind.
    """
    machine = _Machine(construct, resolve)
    opcodes = pickletools.genops(_Bounded(file, size))
    try:
        for count, (opcode, argument, _) in enumerate(opcodes):
            if count == MOST_OPCODES:
                raise UnreadablePickleError(f"more than {MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = "" if isinstance(error, KeyError) else f": {explain_error(error)}"
        raise UnreadablePickleError(f"not a pickle{reason}") from error
    raise UnreadablePickleError("a pickle without an end")


class _Bounded:
    """A file that never reads more than it has, however much it is asked for."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(max(0, min(count, self.size - self.file.tell())))

    def readline(self) -> bytes:
        return self.file.readline(LONGEST_LINE)

    def tell(self) -> int:
        return self.file.tell()


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NEW = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": Placeholder}
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack, the marks and the memo of a pickle."""

    def __init__(self, construct: Construct, resolve: Resolve):
        self.construct, self.resolve = construct, resolve
        self.stack: list[object] = []
        self.below: list[list[object]] = []  # the stacks under each mark
        self.memo: dict[int, object] = {}

    def step(self, name: str, argument: object) -> None:
        """Take one opcode."""
        if name in LITERALS:
            self.push(argument)
        elif name in CONSTANTS:
            self.push(CONSTANTS[name])
        elif name in NEW:
            self.push(NEW[name]())
        elif name in TUPLES:
            items = [self.pop() for _ in range(TUPLES[name])]
            self.push(tuple(reversed(items)))
        else:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise UnreadablePickleError(f"the opcode {name}, which no checkpoint uses")
            handler(argument)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        return self.stack.pop()

    def _marked(self) -> list[object]:
        """Pop what was pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _proto(self, version: int) -> None:
        pass  # every protocol has the same opcodes

    def _frame(self, length: int) -> None:
        pass  # a hint for reading ahead

    def _mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, _: None) -> None:
        if self.stack:
            self.pop()
        else:
            self._marked()

    def _pop_mark(self, _: None) -> None:
        self._marked()

    def _dup(self, _: None) -> None:
        self.push(self.stack[-1])

    def _tuple(self, _: None) -> None:
        self.push(tuple(self._marked()))

    def _list(self, _: None) -> None:
        self.push(self._marked())

    def _dict(self, _: None) -> None:
        items = self._marked()
        self.push({})
        self._put_items(items)

    def _frozenset(self, _: None) -> None:
        self._marked()
        self.push(Placeholder())

    def _additems(self, _: None) -> None:
        self._marked()

    def _append(self, _: None) -> None:
        self._extend([self.pop()])

    def _appends(self, _: None) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def _setitem(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self._put_items([key, value])

    def _setitems(self, _: None) -> None:
        self._put_items(self._marked())

    def _put_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if len(items) % 2:
            raise UnreadablePickleError("a key without a value")
        if isinstance(target, dict):
            target.update((_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _binget(self, index: int) -> None:
        self.push(self.memo[index])

    _put = _long_binput = _binput
    _get = _long_binget = _binget

    def _global(self, names: str) -> None:
        self.push(Name(*names.split(" ", 1)))

    def _stack_global(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnreadablePickleError("a name that is no text")
        self.push(Name(module, name))

    def _reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        known = isinstance(function, Name) and isinstance(arguments, tuple)
        self.push(self.construct(function, arguments) if known else Placeholder())

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        for _part in range(3):
            self.pop()
        self.push(Placeholder())

    def _obj(self, _: None) -> None:
        self._marked()
        self.push(Placeholder())

    def _inst(self, names: str) -> None:
        self._marked()
        self.push(Placeholder())

    def _build(self, _: None) -> None:
        self.pop()  # the state of an object, which is not read

    def _binpersid(self, _: None) -> None:
        self.push(self.resolve(self.pop()))

    def _persid(self, identifier: str) -> None:
        self.push(self.resolve(identifier))


def _key(key: object) -> Key | Name | Placeholder:
    """Keep a key of a dictionary if it is a plain one: a tuple that is nested deep enough crashes Python's hash."""
    return key if key is None or isinstance(key, str | int | float | bytes | Name) else Placeholder()
