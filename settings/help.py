"""The list of a command's settings for `--help`, made from its schema."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic.fields import FieldInfo

from settings.base import Settings, choose_group, groups_of, kind_of, takes_null
from settings.commands import COMMANDS
from settings.kinds import show
from settings.names import files_of

WIDTH, INDENT = 120, 6
BROUGHT = "brought by an experiment"
MISSING = object()


@dataclass(frozen=True)
class Setting:
    """A setting as help shows it: its dotted key, field and default; `MISSING` where it has none."""

    key: str
    info: FieldInfo
    default: object


def list_settings(command: str, defaults: Mapping, groups: Sequence[str]) -> str:
    """Write every setting of a command: key, type, default and a sentence, section by section.

    Args:
        command: of `COMMANDS`.
        defaults: the composed configuration, whose values are the defaults.
        groups: the keys that take the name of a file in the folder of `configs` of that name.
    """
    model = COMMANDS[command]
    lines = [f"  {line}" for group in groups for line in _group_lines(group)]
    sections: dict[str, list[Setting]] = {}
    for setting in _settings(model, defaults):
        sections.setdefault(setting.key.partition(".")[0] if "." in setting.key else "", []).append(setting)
    blocks = [["Files to choose from, as KEY=NAME:", *lines]] if lines else []
    # A pair is long, and most of it is for files of `configs`.
    for section, settings in sorted(sections.items(), key=lambda item: item[0] == "pair"):
        title = f"{section}: {model.model_fields[section].description}" if section else "Settings, as KEY=VALUE:"
        blocks.append([title, *(line for setting in settings for line in _setting_lines(setting))])
    return "\n\n".join("\n".join(block) for block in blocks)


def _group_lines(group: str) -> list[str]:
    text = f"{group}: {', '.join(files_of(group))}"
    return textwrap.wrap(text, WIDTH - 2, subsequent_indent=" " * (INDENT - 2))


def _settings(model: type[Settings], defaults: object, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a group, values before groups."""
    values = defaults if isinstance(defaults, Mapping) else {}
    nested = []
    for key, info in model.model_fields.items():
        if BROUGHT in (info.description or ""):
            continue
        default = values.get(key, MISSING)
        groups = groups_of(info.annotation)
        if kind_of(info) is not None or not groups or _is_list(info):
            yield Setting(prefix + key, info, default)
        elif _is_mapping(info):
            first = next(iter(default.values()), {}) if isinstance(default, Mapping) else {}
            nested.append((choose_group(groups, first), {}, f"{prefix}{key}.NAME."))
        else:
            nested.append((choose_group(groups, default), default, f"{prefix}{key}."))
    for group, inner, place in nested:
        yield from _settings(group, inner, place)


def _is_mapping(info: FieldInfo) -> bool:
    return getattr(info.annotation, "__origin__", None) is dict


def _is_list(info: FieldInfo) -> bool:
    return any(getattr(part, "__origin__", None) is list for part in (info.annotation, *get_args(info.annotation)))


def _setting_lines(setting: Setting) -> list[str]:
    kind = kind_of(setting.info)
    accepted = "mapping" if kind is None else kind.one.removeprefix("a ")
    if _is_list(setting.info) and kind is None:
        accepted = "list of mappings"
    accepted += ", or null" if takes_null(setting.info) and setting.default is not None else ""
    default = "" if setting.default is MISSING else f" = {_typed(setting.default)}"
    text = f"{setting.key}: {accepted}{default}  {setting.info.description}"
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent=" " * INDENT, break_on_hyphens=False)


def _typed(value: object) -> str:
    """Write a default as it would be typed on the command line."""
    if value == "???":
        return "(to be given)"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_typed(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return value if isinstance(value, str) else show(value)
