"""What each type of value takes and what it refuses, written down apart from the types themselves."""

from dataclasses import dataclass
from math import inf, nan

from settings.fractions import Fractions
from settings.kinds import FileName, Flag, Kind, Number, OneOf, PathText, Text, Whole
from settings.lists import Either, ListOf, OneOrEach, OrNull
from settings.prompts import CallValue

GROUP = {"key": 1}


@dataclass(frozen=True)
class Cases:
    """Values to try with a type."""

    accepted: list
    refused: list


def cases_of(kind: Kind) -> Cases:
    """Return edges, neighbours and wrong types for a type of value; null is the field's own."""
    match kind:
        case Whole(lowest, highest):
            refused = [True, False, 2.0, 0.5, nan, inf, "3", "text", "", [], [1], GROUP, lowest - 1, -1, highest + 1]
            return Cases([lowest, lowest + 1, highest], [*refused, 10**30])
        case Number(lowest, highest, is_open):
            inside = [lowest if lowest is not None else -3, highest if highest is not None else 1e12]
            accepted = [value for value in inside if not (is_open and value == lowest)] + [0.5 + (lowest or 0) / 2]
            outside = [lowest - 1e-9] if lowest is not None else []
            outside += [lowest] if is_open else []
            outside += [highest + 1e-9] if highest is not None else []
            wrong = [True, nan, inf, -inf, float("1e400"), 10**400, "0.5", "text", "", [], [0.5], GROUP]
            return Cases(accepted, [*outside, *wrong])
        case Flag():
            return Cases([True, False], [0, 1, 2.0, nan, "true", "", [], [True], GROUP])
        case FileName():
            return Cases(["text", "a cat", "é"], ["", " ", "a/b", "../a", "..", "a\0b", 3, nan, True, [], ["a"], GROUP])
        case Text():
            return Cases(["text", "a cat", "Prüfung é"], ["", "  ", 3, 2.0, nan, True, [], ["text"], GROUP])
        case PathText():
            return Cases(
                ["a/b", "é x", "../c.npz", "a~b", "a/$b"],
                ["", " ", "a\0b", "~", "~/a", "$HOME/a", True, False, [], ["a"], GROUP],
            )
        case OneOf(names):
            wrong = ["text", "", names[0].upper() + "_", f"{names[0]} ", 0, 2.0, nan, True, [], [names[0]], GROUP]
            return Cases(list(names), wrong)
        case ListOf(item, shortest, is_distinct):
            inner = cases_of(item)
            lists = [[value] for value in inner.accepted] + [inner.accepted]
            wrong = [0, 2.0, nan, True, "text", "", GROUP, *([value] for value in [*inner.refused, {}])]
            if not isinstance(item, OrNull):
                wrong.append([None])
            wrong += [[inner.accepted[0], inner.accepted[0]]] if is_distinct else []
            return Cases([*lists, []] if shortest == 0 else lists, wrong if shortest == 0 else [*wrong, []])
        case OrNull(inner_kind):
            inner = cases_of(inner_kind)
            return Cases([*inner.accepted, None], inner.refused)
        case OneOrEach(item):
            each = cases_of(ListOf(item))
            taken = {repr(value) for value in each.accepted}
            own = cases_of(item)
            refused = [value for value in own.refused if repr(value) not in taken]
            return Cases([*own.accepted, *each.accepted], [*refused, [], *([value] for value in own.refused)])
        case Either(first, second):
            one, other = cases_of(first), cases_of(second)
            both = {repr(value) for value in one.refused} & {repr(value) for value in other.refused}
            return Cases([*one.accepted, *other.accepted], [value for value in one.refused if repr(value) in both])
        case Fractions():
            ranges = ["text", "", "0:1", "0:2:0.5", "1:0:0.1", "0:1:0", "0:1:-0.1", "nan:1:0.1", "0:inf:1", "0:1:0.1:1"]
            lists = [[], [2], [-0.1], [True], [None], [[]], [[2, 0]], [[nan, 1]], ["x"], [nan], [GROUP]]
            return Cases(["0:1:0.1", "0.2:0.4:0.1", [0, 0.5, 1]], [*ranges, *lists, 0.5, 1, True, nan, GROUP])
        case CallValue():
            accepted = [0, 2.5, -1, "text", "", True, [1, "a"], []]
            return Cases(accepted, [nan, inf, -inf, 10**400, [nan], [[inf]], GROUP, [GROUP]])
    raise AssertionError(f"write down what {kind} takes")
