"""Types that are made from others: lists of one type, one value or one for each denoiser, one type or another."""

from dataclasses import dataclass, field

from settings.kinds import Kind, show

LONGEST_LIST = 10**6


@dataclass(frozen=True)
class ListOf(Kind):
    """Lists of one type, with `shortest` entries or more; `is_distinct` says that none may be there twice."""

    item: Kind
    shortest: int = 1
    is_distinct: bool = False
    longest: int = field(default=LONGEST_LIST, repr=False)

    @property
    def one(self) -> str:
        return f"a list of {self.item.several}"

    @property
    def several(self) -> str:
        return f"lists of {self.item.several}"

    def accepts(self, value: object) -> bool:
        fits = isinstance(value, list) and self.shortest <= len(value) <= self.longest
        return fits and all(map(self.item.accepts, value)) and not self._twice(value)

    def complain(self, value: object) -> str:
        if isinstance(value, list) and all(map(self.item.accepts, value)) and (twice := self._twice(value)):
            return f"must be {self.one}, each once, got {show(twice[0])} twice in {show(value)}"
        return f"must be {self.one}{self.limit(value)}, got {show_wrong(value, self.item)}"

    def _twice(self, values: list) -> list:
        return [each for index, each in enumerate(values) if each in values[:index]] if self.is_distinct else []

    def limit(self, value: object) -> str:
        if not isinstance(value, list):
            return ""
        if len(value) < self.shortest:
            return f", at least {self.shortest} of them"
        if len(value) > self.longest:
            return f", at most {self.longest:,} of them"
        return next(filter(None, map(self.item.limit, value)), "")

    def convert(self, value: list) -> list:
        return [self.item.convert(entry) for entry in value]


@dataclass(frozen=True)
class OrNull(Kind):
    """Values of a type, or null, as entries of a list."""

    kind: Kind

    @property
    def one(self) -> str:
        return f"{self.kind.one} or null"

    @property
    def several(self) -> str:
        return f"{self.kind.several} or null"

    def accepts(self, value: object) -> bool:
        return value is None or self.kind.accepts(value)

    def convert(self, value: object) -> object:
        return None if value is None else self.kind.convert(value)


@dataclass(frozen=True)
class Either(Kind):
    """Values of the one type or of the other."""

    first: Kind
    second: Kind

    @property
    def one(self) -> str:
        return f"{self.first.one}, or {self.second.one}"

    @property
    def several(self) -> str:
        return f"{self.first.several}, or {self.second.several}"

    def accepts(self, value: object) -> bool:
        return self.first.accepts(value) or self.second.accepts(value)

    def limit(self, value: object) -> str:
        return self.first.limit(value) or self.second.limit(value)


@dataclass(frozen=True)
class OneOrEach(Kind):
    """Values of a type, for all denoisers, or lists with one for each."""

    item: Kind

    @property
    def one(self) -> str:
        return f"{self.item.one}, or a list of them"

    @property
    def several(self) -> str:
        return f"{self.item.several}, or of lists of them"

    def accepts(self, value: object) -> bool:
        return self.item.accepts(value) or ListOf(self.item).accepts(value)

    def complain(self, value: object) -> str:
        return f"must be {self.one}{self.limit(value)}, got {show_wrong(value, self.item)}"

    def limit(self, value: object) -> str:
        return self.item.limit(value) or ListOf(self.item).limit(value)


def show_wrong(value: object, item: Kind) -> str:
    """Write a value, and before it the first entry that is not of the type of its entries."""
    wrong = [entry for entry in value if not item.accepts(entry)] if isinstance(value, list) else []
    return f"{show(wrong[0])} in {show(value)}" if wrong else show(value)
