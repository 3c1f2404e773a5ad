"""Configurations as plain containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from settings.base import Settings


def resolved(config: DictConfig | Settings) -> dict:
    """Return a configuration with every interpolation filled in; of checked settings, what was set, types as given."""
    if isinstance(config, DictConfig):
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return config.model_dump(exclude_unset=True)
