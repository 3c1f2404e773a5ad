"""Records: the objects of JSON files that commands wrote, with a type for every field that is used."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from settings.base import complain, phrase
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, show_value

MISSING = "missing field"
WANTED = {"list_type": "a list", "too_short": "an object with an entry"}


class Record(BaseModel):
    """An object of a file. Fields that another version wrote are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, values: Any) -> Any:
        """Refuse another value than an object, and an object that lacks a field, before the other fields."""
        if not isinstance(values, dict):
            raise complain(f"must be an object, got {show_value(values)}")
        for key, info in cls.model_fields.items():
            if info.is_required() and key not in values:
                raise PydanticCustomError(MISSING, "{key}", {"key": key, "wanted": _wanted(phrase(info))})
        return values


R = TypeVar("R", bound=Record)


def read_record(path: Path, kind: type[R], advice: str = "") -> tuple[dict, R]:
    """Read a file's object, as it is and checked.

    Args:
        advice: ends the message of a file that cannot be used: what makes it again.

    Raises:
        UserError: the file holds no JSON object, or a field is missing or of another type; the message names both.
    """
    try:
        content = read_json(path)
        return content, check_record(path, content, kind)
    except UserError as error:
        raise UserError(f"{error}; {advice}" if advice else str(error)) from error


def check_record(path: Path, content: object, kind: type[R], place: str = "") -> R:
    """Check an object that was read from a file.

    Args:
        place: the field of the file that holds the object; empty for all of the file.

    Raises:
        UserError: as `read_record`.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error, place)}") from None


def _explain(error: ValidationError, place: str) -> str:
    """Write the first mistake: `points.0.order must be text, got null`."""
    first = min(error.errors(include_url=False), key=lambda mistake: len(mistake["loc"]))
    keys, context = [*filter(None, [place]), *map(str, first["loc"])], first.get("ctx", {})
    if first["type"] == MISSING:
        return f"{'.'.join([*keys, context['key']])} is missing; it must be {context['wanted']}"
    name = ".".join(keys) or "it"
    if first["type"] == "value":
        return f"{name} {context['complaint']}"
    wanted = WANTED.get(first["type"], "an object")
    return f"{name} must be {wanted}, got {show_value(first['input'])}"


def _wanted(phrase_of_settings: str) -> str:
    return phrase_of_settings.replace("a group of settings", "an object or a list")
