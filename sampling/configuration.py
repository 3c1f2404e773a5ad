"""Configurations as plain containers."""

from omegaconf import DictConfig, OmegaConf


def resolved(config: DictConfig) -> dict:
    """The configuration with every interpolation filled in."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
