"""The check of a command's settings against its schema: a settings object, or one line that says what is wrong."""

from collections.abc import Mapping

from pydantic import ValidationError

from settings.base import Settings, kind_of
from settings.commands import COMMANDS
from settings.kinds import PathText, show
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
        return model.model_validate({**container, **_paths_as_typed(model, container, typed or {})})
    except ValidationError as error:
        raise UserError(_explain(error, container)) from None


def _paths_as_typed(model: type[Settings], container: dict, typed: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the paths at the top that were read as numbers: `1e3` would be `1000.0`."""
    paths = [key for key, info in model.model_fields.items() if isinstance(kind_of(info), PathText)]
    return {key: typed[key] for key in paths if key in typed and type(container.get(key)) in (int, float)}


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
