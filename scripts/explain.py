"""One line for a command line that Hydra refuses, with what would be accepted."""

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from models.checkout import CONFIG_DIR
from settings.unknown import dotted_keys, explain_unknown_key, nearest_keys

CHOICE = re.compile(
    r"Could not find '(?P<group>[\w/]+)/(?P<name>[^']+)'"
    r".*Available options in '[\w/]+':(?P<known>.*?)Config search",
    re.S,
)
UNKNOWN_KEYS = (
    r"Could not (?:override|append to config|delete from config\.?) '([\w.@/]+)'",
    r"Key '([\w.]+)' is not in struct",
    r"Could not delete from config\. '([\w.@/]+)' does not exist",
)
NO_VALUE = re.compile(r"Error parsing override '(?P<text>.*)'\s+missing EQUAL", re.S)


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
        known = choice["known"].split()
        near = nearest_keys(choice["name"], known)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        return f"unknown {choice['group']} {choice['name']!r}; {meant}known: {', '.join(known)}"
    if "Config group override" in message:
        return _explain_group(arguments) or message
    if isinstance(error, OverrideParseException):
        return _explain_syntax(message, arguments)
    unknown = next(filter(None, (re.search(pattern, message) for pattern in UNKNOWN_KEYS)), None)
    if unknown is None:
        return message.split("Set the environment variable")[0]
    return _explain_key(config_name, unknown[1])


def _explain_group(arguments: Sequence[str]) -> str | None:
    """Explain a group such as `pair=null`, which takes the name of one of its files."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        folder = CONFIG_DIR / group.lstrip("+~")
        if group and folder.is_dir() and not (folder / f"{value}.yaml").is_file():
            known = sorted(path.stem for path in folder.glob("*.yaml"))
            return f"{group} must be one of {', '.join(known)}, got {value}"
    return None


def _explain_syntax(message: str, arguments: Sequence[str]) -> str:
    no_value = NO_VALUE.search(message)
    if no_value is not None:
        text = no_value["text"]
        before = (
            [argument for argument in arguments[: list(arguments).index(text)] if "=" in argument]
            if (text in arguments)
            else []
        )
        spaced = f"; a value with spaces is quoted: '{_quoted(f'{before[-1]} {text}')}'" if before else ""
        return f"{text!r} is not of the form KEY=VALUE{spaced}"
    wrong = next((argument for argument in arguments if "=" in argument and argument in message), None)
    reason = " ".join(message.split("See https")[0].split())
    if wrong is None:
        return reason
    if "LexerNoViableAlt" in message or wrong.partition("=")[2].startswith(("[", "{")) is False:
        return f"{wrong} has characters that must be quoted: '{_quoted(wrong)}'"
    return f"{wrong} cannot be read: {reason}"


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f'{key}="{value}"'


def _explain_key(config_name: str, key: str) -> str:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(config_name)
    group = key.rpartition(".")[0]
    node = OmegaConf.select(config, group, throw_on_missing=False) if group else config
    siblings = [str(name) for name in node] if isinstance(node, DictConfig) else []
    return explain_unknown_key(key, siblings, dotted_keys(OmegaConf.to_container(config)))
