"""From a composed configuration to checked settings."""

from omegaconf import DictConfig, OmegaConf

from settings.base import Settings
from settings.check import check_settings


def plain(config: DictConfig) -> dict:
    """Return a composed configuration as plain values, with every interpolation filled in."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def checked(command: str, config: DictConfig) -> Settings:
    """Check the composed configuration of a command.

    Raises:
        UserError: names the first key that is wrong, and says what would be accepted.
    """
    return check_settings(command, plain(config))
