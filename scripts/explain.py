"""One line for a command line that Hydra refuses, with what would be accepted."""

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from models.checkout import CONFIG_DIR
from settings.unknown import dotted_keys, explain_unknown_key, nearest_keys

CHOICE = re.compile(r"Could not (?:find|load) '(?P<group>[\w/]+)/(?P<name>[^'/]*)'")
UNKNOWN_KEYS = (
    r"Could not (?:override|append to config) '([\w.@/]+)'",
    r"Key '([\w.]+)' is not in struct",
    r"Could not delete from config\. '([\w.@/]+)' does not exist",
)
SEVERAL = re.compile(r"Ambiguous value for argument '(?P<argument>[^']*)'")


def explain_composition(config_name: str, error: Exception, arguments: Sequence[str]) -> str:
    """Explain why a command line does not compose.

    Args:
        config_name: of the command.
        error: of Hydra or OmegaConf.
        arguments: of the command line.
    """
    message = str(error)
    choice = CHOICE.search(message)
    if choice is not None:
        return _explain_choice(choice["group"], choice["name"])
    if "Config group override" in message:
        return _explain_group(arguments) or "a group takes the name of one of its files, as pair=NAME"
    several = SEVERAL.search(message)
    if several is not None:
        return _explain_several(several["argument"])
    if isinstance(error, OverrideParseException):
        return _explain_syntax(message, arguments)
    unknown = next(filter(None, (re.search(pattern, message) for pattern in UNKNOWN_KEYS)), None)
    if unknown is None:
        return message.split("Set the environment variable")[0]
    deleted = f"{unknown[1]} has another value; ~{unknown[1]} deletes it whatever it is"
    return _explain_key(config_name, unknown[1]) or (deleted if "delete" in message else message)


def _explain_choice(group: str, name: str) -> str:
    known = _names_of(group)
    near = nearest_keys(name, known)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {group} {name!r}; {meant}known: {', '.join(known)}"


def _names_of(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def _explain_group(arguments: Sequence[str]) -> str | None:
    """Explain a group such as `pair=null`, which takes the name of one of its files."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        folder = CONFIG_DIR / group.lstrip("+~")
        if group and folder.is_dir() and not (folder / f"{value}.yaml").is_file():
            return f"{group} must be one of {', '.join(_names_of(group))}, got {value}"
    return None


def _explain_syntax(message: str, arguments: Sequence[str]) -> str:
    """Explain an argument that is not of Hydra's grammar: no `=`, a character that needs quotes, an open bracket."""
    unreadable = [argument for argument in arguments if argument[:1] != "-" and _is_unreadable(argument)]
    # A flag's own value, as in `--cfg job`, is none of Hydra's grammar either, but then not in the message.
    wrong = next((each for each in unreadable if (each.partition("=")[2] or each) in message), "".join(unreadable[:1]))
    key, equals, value = wrong.partition("=")
    if not equals or not key:
        earlier = arguments[: list(arguments).index(wrong)] if wrong else []
        before = [argument for argument in earlier if "=" in argument]
        spaced = f"; a value with spaces is quoted: '{_quoted(f'{before[-1]} {wrong}')}'" if before else ""
        return f"{wrong!r} is not of the form KEY=VALUE{spaced}"
    if value.startswith(("[", "{")):
        reason = " ".join(message.split("See https")[0].split())
        return f"{wrong} cannot be read: {reason}"
    return f"{wrong} has characters that must be quoted: '{_quoted(wrong)}'"


def _is_unreadable(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return True
    return False


def _explain_several(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f"{argument} is several values: quote it as one, '{_quoted(argument)}', or give a list, '{key}=[{value}]'"


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f'{key}="{value}"'


def _explain_key(config_name: str, key: str) -> str | None:
    """Explain a key that the command's configuration has not; None where it has it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(config_name)
    group = key.rpartition(".")[0]
    node = OmegaConf.select(config, group, throw_on_missing=False) if group else config
    if isinstance(node, DictConfig) and key.rpartition(".")[2] in node:
        return None
    siblings = [str(name) for name in node] if isinstance(node, DictConfig) else []
    return explain_unknown_key(key, siblings, dotted_keys(OmegaConf.to_container(config)))
