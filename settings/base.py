"""What all groups of settings share: known keys alone, none missing, nothing changed after the check."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from settings.kinds import Kind, kinds_of, show


class Settings(BaseModel):
    """A group of settings. `kind` marks one of several groups that may stand in a place, in pydantic's locations."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind_name: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        """Refuse unknown and missing keys before any value, with what the message needs."""
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            raise complain(f"must be a group of settings ({', '.join(known_keys(cls))}), got {show(values)}")
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown and cls.model_config["extra"] == "forbid":
            raise PydanticCustomError("unknown_key", "unknown key", {"key": str(unknown[0]), "known": known_keys(cls)})
        for key, info in cls.model_fields.items():
            if info.is_required() and key not in values:
                raise PydanticCustomError("missing_key", "missing key", {"key": key, "wanted": phrase(info)})
        return values


def known_keys(model: type[Settings]) -> list[str]:
    """List the keys of a group of settings, as the schema has them."""
    return list(model.model_fields)


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
