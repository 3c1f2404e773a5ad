"""The base of all groups of settings: known keys alone, none missing, nothing changed after the check."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from settings.kinds import Kind, kinds_of, show


class Settings(BaseModel):
    """A group of settings. `kind_name` tells it from the other groups that may stand in its place; empty where none."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind_name: ClassVar[str] = ""

    def changed(self, **values: object) -> Self:
        """Return a copy with other values, which are not checked again; a mapping changes the group of its name."""
        groups = {key: getattr(self, key) for key, value in values.items() if isinstance(value, dict)}
        inner = {key: group.changed(**values[key]) for key, group in groups.items() if isinstance(group, Settings)}
        return self.model_copy(update=values | inner)

    def as_dict(self) -> dict:
        """Return what was given, as plain values with their types; an identity of a run has no more than that."""
        return self.model_dump(exclude_unset=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        """Refuse unknown and missing keys before any value, with what the message needs."""
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            raise complain(f"must be a group of settings ({', '.join(cls.model_fields)}), got {show(values)}")
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown and cls.model_config["extra"] == "forbid":
            raise PydanticCustomError(
                "unknown_key", "unknown key", {"key": str(unknown[0]), "known": list(cls.model_fields)}
            )
        for key, info in cls.model_fields.items():
            if info.is_required() and key not in values:
                raise PydanticCustomError("missing_key", "missing key", {"key": key, "wanted": phrase(info)})
        return values


def groups_of(annotation: object) -> list[type[Settings]]:
    """Find the groups of settings in an annotation; several where a key chooses one of them."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [group for part in get_args(annotation) for group in groups_of(part)]


def choose_group(groups: Sequence[type[Settings]], values: object) -> type[Settings]:
    """Choose the group that values are of, by the key that says so; the first where none does."""
    named = values.values() if isinstance(values, Mapping) else ()
    return next((group for group in groups if group.kind_name and group.kind_name in named), groups[0])


def kind_of(info: FieldInfo) -> Kind | None:
    """Return the type of a field's value; None where it is a group of settings."""
    direct = [part for part in info.metadata if isinstance(part, Kind)]
    return next(iter([*direct, *kinds_of(info.annotation)]), None)


def takes_null(info: FieldInfo) -> bool:
    """Tell whether a field may be null."""
    return type(None) in getattr(info.annotation, "__args__", ())


def phrase(info: FieldInfo) -> str:
    """Say what a field takes."""
    kind = kind_of(info)
    accepted = "a group of settings" if kind is None else kind.one
    return f"{accepted}, or null" if takes_null(info) else accepted


def complain(complaint: str) -> PydanticCustomError:
    """Make the error of a rule inside a group; its message follows the group's key."""
    return PydanticCustomError("value", "{complaint}", {"complaint": complaint})


def refuse(message: str) -> PydanticCustomError:
    """Make the error of a rule over several settings; its message is a whole sentence."""
    return PydanticCustomError("rule", "{message}", {"message": message})
