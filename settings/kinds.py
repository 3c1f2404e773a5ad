"""Types of single values. Each says in a phrase what it accepts, which a refusal and `--help` repeat.

No value is converted to another type: an identity of a run holds values as they were given. The one exception is a path
that looks like a number.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SEED_LIMIT = 2**63 - 1
LONGEST_SHOWN = 80
SHELL = re.compile(r"~(/|$)|\$\w")  # at the start of a path: of the home, or of a variable


class Kind:
    """A type of values, for `Annotated`: pydantic takes its test, its phrase and its complaint.

    Attributes:
        one: what one value is, such as `a whole number of 1 or more`.
        several: the plural, for lists.
    """

    one: str
    several: str

    def accepts(self, value: object) -> bool:
        """Tell whether the value is of this type."""
        raise NotImplementedError

    def complain(self, value: object) -> str:
        """Say what would be accepted instead of a value that is not."""
        return f"must be {self.one}{self.limit(value)}, got {show(value)}"

    def limit(self, value: object) -> str:
        """Say the upper bound that a value breaks; empty where something else is wrong with it."""
        return ""

    def convert(self, value: object) -> object:
        """Return an accepted value as the rest of the code takes it: itself."""
        return value

    def validate(self, value: object) -> object:
        """Return the value, for pydantic.

        Raises:
            PydanticCustomError: of type `value`, with the complaint; the caller puts the key before it.
        """
        if not self.accepts(value):
            raise PydanticCustomError("value", "{complaint}", {"complaint": self.complain(value)})
        return self.convert(value)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)


@dataclass(frozen=True)
class Whole(Kind):
    """Whole numbers from `lowest` to `highest`; neither `true` nor `2.0` is one."""

    lowest: int = 0
    highest: int = SEED_LIMIT

    @property
    def one(self) -> str:
        return f"a whole number of {self.lowest} or more"

    @property
    def several(self) -> str:
        return f"whole numbers of {self.lowest} or more"

    def accepts(self, value: object) -> bool:
        return type(value) is int and self.lowest <= value <= self.highest

    def limit(self, value: object) -> str:
        return f" and at most {self.highest:,}" if type(value) is int and value > self.highest else ""


@dataclass(frozen=True)
class Number(Kind):
    """Finite numbers from `lowest` to `highest`, whole or not; without `lowest` itself where `is_open`."""

    lowest: float | None = None
    highest: float | None = None
    is_open: bool = False

    @property
    def one(self) -> str:
        return f"a number {self._bounds}" if self._bounds else "a finite number"

    @property
    def several(self) -> str:
        return f"numbers {self._bounds}" if self._bounds else "finite numbers"

    @property
    def _bounds(self) -> str:
        if self.lowest is None:
            return ""
        if self.highest is not None:
            start = f"above {self.lowest:g} and up" if self.is_open else f"from {self.lowest:g}"
            return f"{start} to {self.highest:g}"
        return f"above {self.lowest:g}" if self.is_open else f"of {self.lowest:g} or more"

    def accepts(self, value: object) -> bool:
        if type(value) not in (int, float) or not is_finite(value):
            return False
        if self.lowest is not None and (value < self.lowest or (self.is_open and value == self.lowest)):
            return False
        return self.highest is None or value <= self.highest


@dataclass(frozen=True)
class Flag(Kind):
    """`true` or `false`; 0, 1 and text are neither."""

    one: str = "true or false"
    several: str = "values of true or false"

    def accepts(self, value: object) -> bool:
        return type(value) is bool


@dataclass(frozen=True)
class Text(Kind):
    """Text that is not blank."""

    one: str = "text"
    several: str = "texts"

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and bool(value.strip())


@dataclass(frozen=True)
class FileName(Text):
    """Names that become those of files and directories."""

    one: str = "a name without slashes"
    several: str = "names without slashes"

    def accepts(self, value: object) -> bool:
        return super().accepts(value) and not set(value) & set("/\0") and value not in (".", "..")


@dataclass(frozen=True)
class PathText(Kind):
    """Paths of files and directories, as text. A name that reads as a number becomes its text: `out=20261124`."""

    one: str = "a path"
    several: str = "paths"

    def accepts(self, value: object) -> bool:
        if type(value) in (int, float):
            return True
        return isinstance(value, str) and bool(value.strip()) and "\0" not in value and not SHELL.match(value)

    def complain(self, value: object) -> str:
        if isinstance(value, str) and SHELL.match(value):
            return f"must be a path, got {show(value)}, which the shell has not expanded there; give the whole path"
        return super().complain(value)

    def convert(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class OneOf(Kind):
    """One of some names."""

    names: tuple[str, ...]

    @property
    def one(self) -> str:
        return self.names[0] if len(self.names) == 1 else f"one of {', '.join(self.names)}"

    @property
    def several(self) -> str:
        return f"names out of {', '.join(self.names)}"

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.names


def is_finite(value: float) -> bool:
    """Tell whether a number is one that a float can hold; whole numbers can be too large for it."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def show(value: object) -> str:
    """Write a value as a user would have to type it, cut to a length that a line can hold."""
    named = {None: "null", True: "true", False: "false"}
    text = named[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def kinds_of(annotation: object) -> Iterator[Kind]:
    """Yield the kinds in an annotation such as `Annotated[int, Whole(1)] | None`; none for the entries of a mapping."""
    if get_origin(annotation) is dict:
        return
    for part in get_args(annotation):
        if isinstance(part, Kind):
            yield part
        else:
            yield from kinds_of(part)
