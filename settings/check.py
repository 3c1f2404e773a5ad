"""The check of a command's settings against its schema: a settings object, or one line that says what is wrong."""

from collections.abc import Mapping
from typing import get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from settings.base import Settings, choose_group, groups_of, kind_of
from settings.commands import COMMANDS
from settings.kinds import PathText, show
from settings.router import AnyRouter, Router
from settings.sampling import SamplingSettings
from settings.unknown import dotted_keys, explain_unknown_key
from tstitch.errors import UserError


def check_settings(command: str, container: dict, typed: Mapping[str, str] | None = None) -> Settings:
    """Check settings and return them as an object that cannot be changed.

    Args:
        command: of `COMMANDS`.
        container: the composed configuration, with every interpolation filled in.
        typed: dotted keys as the command line gave them, and their text: that of a path which reads as a number.

    Raises:
        UserError: names the first key that is wrong, outermost first, and says what would be accepted.
    """
    model = COMMANDS[command]
    try:
        return model.model_validate(_with_paths_as_typed(model, container, typed) if typed else container)
    except ValidationError as error:
        raise UserError(_explain(error, container)) from None


def check_router(values: dict) -> Router:
    """Check the settings of a router of a sweep, with its defaults filled in.

    Raises:
        UserError: names the key that is wrong.
    """
    try:
        return TypeAdapter(AnyRouter).validate_python(values)
    except ValidationError as error:
        raise UserError(f"routers: {values['kind']}: {_explain(error, values)}") from None


def check_router_fits(settings: SamplingSettings) -> None:
    """Raise `UserError` where the router of a sweep's point cannot go with its other settings."""
    try:
        settings.check_router()
    except PydanticCustomError as error:
        raise UserError(error.message()) from None


def _with_paths_as_typed(model: type[Settings], values: dict, typed: Mapping[str, str], prefix: str = "") -> dict:
    """Return values whose paths that were read as numbers are their text again: `1e3` would be `1000.0`."""
    changed = dict(values)
    for key, info in model.model_fields.items():
        value, place, groups = values.get(key), f"{prefix}{key}", groups_of(info.annotation)
        if isinstance(kind_of(info), PathText) and type(value) in (int, float) and place in typed:
            changed[key] = typed[place]
        elif isinstance(value, dict) and groups and get_origin(info.annotation) is dict:
            changed[key] = {
                name: _with_paths_as_typed(choose_group(groups, entry), entry, typed, f"{place}.{name}.")
                if isinstance(entry, dict)
                else entry
                for name, entry in value.items()
            }
        elif isinstance(value, dict) and groups:
            changed[key] = _with_paths_as_typed(choose_group(groups, value), value, typed, f"{place}.")
    return changed


def _explain(error: ValidationError, container: dict) -> str:
    """Write the first mistake in a line."""
    first = min(error.errors(include_url=False), key=lambda mistake: len(_keys(mistake["loc"])))
    kind, context, keys = first["type"], first.get("ctx", {}), _keys(first["loc"])
    key = ".".join(map(str, keys))
    prefix = f"{key}." if key else ""
    if kind == "unknown_key":
        others = (other for other in dotted_keys(container) if other != prefix + context["key"])
        return explain_unknown_key(prefix + context["key"], context["known"], others)
    if kind == "missing_key":
        return f"{prefix}{context['key']} is missing; it must be {context['wanted']}"
    if kind == "rule":
        return context["message"]
    if kind == "value":
        return f"{key} {context['complaint']}"
    if kind.startswith("kind:") and isinstance(first["input"], Mapping):
        name = kind.removeprefix("kind:")
        return f"{prefix}{name} {first['msg']}, got {show(first['input'].get(name))}"
    wanted = "a list of groups of settings" if kind == "list_type" else "a group of settings"
    return f"{key} must be {wanted}, got {show(first['input'])}"


def _keys(location: tuple[str | int, ...]) -> list[str | int]:
    """Return the keys of a location of pydantic's, without its marks of which group was chosen."""
    return [part for part in location if not str(part).startswith("<")]
