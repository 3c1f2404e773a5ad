"""From what Hydra composed to checked settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from models.checkout import CONFIG_DIR
from tstitch.errors import UserError

if TYPE_CHECKING:
    from settings.base import Settings


def checked_settings(command: str, config: DictConfig) -> Settings:
    """Check the composed configuration of a command against its schema.

    Raises:
        UserError: names the first key that is wrong, and says what would be accepted.
    """
    container = _container(config)
    _refuse_several_names()
    from settings.check import check_settings  # pydantic takes a tenth of a second, which a typo should not wait for

    texts = _texts_of_overrides()
    try:
        return check_settings(command, container, {key.lstrip("+"): text.strip("'\"") for key, text in texts.items()})
    except UserError as error:
        added = [f"{key}={text}" for key, text in texts.items() if key[0] == "+" and (CONFIG_DIR / key[1:]).is_dir()]
        if added and str(error).startswith("unknown key"):
            raise UserError(f"{added[0]} is not for this command: {error}") from None
        raise


def _refuse_several_names() -> None:
    """Raise `UserError` for a list of names for a group, of which Hydra would take the last."""
    for key, text in _texts_of_overrides().items():
        group = key.lstrip("+~")
        if text.startswith("[") and (CONFIG_DIR / group).is_dir() and group:
            raise UserError(f"{group} takes one name, got {text}")


def _container(config: DictConfig) -> dict:
    """Return the configuration as plain values, with every interpolation filled in."""
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or str(error).rpartition(" ")[2]
        raise UserError(f"{key} is missing; give {key}=VALUE") from None
    except InterpolationResolutionError as error:
        missing = re.search(r"Interpolation key '([\w.]+)' not found", str(error))
        if missing is None:
            raise UserError(f"{error.full_key} cannot be made: {_first_line(error)}") from None
        source = _first_missing(config, _absolute(config, missing[1], error.full_key))
        raise UserError(f"{source} is missing, from which {error.full_key} takes its value") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _absolute(config: DictConfig, key: str, full_key: str) -> str:
    """Return the whole key that an interpolation in `full_key` names; `${.name}` names one of the same group."""
    group = full_key.rpartition(".")[0]
    text = str(OmegaConf.to_container(config, resolve=False))
    is_relative = group and f"${{.{key}}}" in text and f"${{{key}}}" not in text
    return f"{group}.{key}" if is_relative else key


def _first_missing(config: DictConfig, key: str) -> str:
    """Return the outermost group on the way to a missing key that is missing itself."""
    parts = key.split(".")
    prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next((prefix for prefix in prefixes if OmegaConf.select(config, prefix) is None), key)


def _texts_of_overrides() -> dict[str, str]:
    """Return the values of the command line as they were typed, by key, with the `+` of one that was added."""
    if not HydraConfig.initialized():
        return {}
    pairs = (override.partition("=") for override in HydraConfig.get().overrides.task)
    return {key: text for key, _, text in pairs}
