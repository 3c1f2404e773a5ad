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
    r"Error merging override ([\w.]+)=",
)
TWICE = re.compile(r"Multiple values for ([\w/]+)\.")
SEVERAL = re.compile(r"Ambiguous value for argument '(?P<argument>[^']*)'")


def explain_composition(config_name: str, error: Exception, arguments: Sequence[str]) -> str:
    """Explain why a command line does not compose.

    Args:
        config_name: of the command.
        error: of Hydra or OmegaConf, as it was raised.
        arguments: of the command line.
    """
    message = str(error)
    choice = CHOICE.search(message)
    if choice is not None:
        return _explain_choice(choice["group"], choice["name"])
    nameless = next((each for each in arguments if each[:1] == "="), None)
    if nameless is not None:
        return f"{nameless!r} is not of the form KEY=VALUE"
    if "Config group override" in message:
        return _explain_group(arguments) or "a group takes the name of one of its files, as pair=NAME"
    twice = TWICE.search(message)
    if twice is not None:
        return f"{twice[1]} is one of this command's choices, which takes no +; give {twice[1]}=NAME"
    several = SEVERAL.search(message)
    if several is not None:
        return _explain_several(several["argument"])
    if isinstance(error, OverrideParseException):
        return _explain_syntax(message, arguments)
    unknown = next(filter(None, (re.search(pattern, message) for pattern in UNKNOWN_KEYS)), None)
    if unknown is None:
        return message.split("Set the environment variable")[0]
    return _explain_key(unknown[1], _config_of(error) or _compose(config_name), arguments) or message


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
    if key != key.strip() or " " in key:
        return f"{wrong!r} has a space in its key; give {''.join(key.split())}={value}"
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
    for mark in "'\"":  # around the value, or where the user closed none
        value = value.removeprefix(mark).removesuffix(mark)
    return f'{key}="{value}"'


def _config_of(error: Exception) -> DictConfig | None:
    """Return the configuration that Hydra was changing when it raised: that of the groups that were chosen.

    To compose it again takes a tenth of a second, and other groups than the default ones have other keys.
    """
    trace, config = error.__traceback__, None
    while trace is not None:
        changed = trace.tb_frame.f_locals.get("cfg")
        config = changed if isinstance(changed, DictConfig) else config
        trace = trace.tb_next
    return config


def _compose(config_name: str) -> DictConfig:
    """Compose the configuration of a command as it is by default, for a group that no command has."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(config_name)


def _explain_key(key: str, config: DictConfig, arguments: Sequence[str]) -> str | None:
    """Explain a key that cannot be changed in a configuration; None where it is not known why."""
    argument = next((each for each in arguments if each.lstrip("+~").partition("=")[0] == key), key)
    taken = next((each for each in arguments if each[:1] == "~" and f"{key}.".startswith(f"{each[1:]}.")), None)
    if taken not in (None, argument):
        return f"{argument} has nothing to change: {taken} takes it away; leave one of them out"
    outer, _, name = key.rpartition(".")
    node = OmegaConf.select(config, outer, throw_on_missing=False) if outer else config
    siblings = [str(each) for each in node if each != "hydra"] if isinstance(node, DictConfig) else []
    if name not in siblings:
        known = OmegaConf.to_container(config)
        return explain_unknown_key(key, siblings, dotted_keys({each: known[each] for each in known if each != "hydra"}))
    if OmegaConf.is_missing(node, name):
        return f"{key} has no value yet that ~{key} could take away; give {key}=VALUE"
    if argument[:1] == "~":
        return f"{key} has another value; ~{key} deletes it whatever it is"
    if isinstance(node[name], DictConfig):
        got = argument.partition("=")[2]
        return f"{key} must be a group of settings ({', '.join(map(str, node[name]))}), got {got}"
    return None
