"""Families of denoisers: a row for each kind of network. A new network is one file and one row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor, nn

from models.denoisers import ClassConditionalDenoiser, DiTDenoiser, SNNetDenoiser, UNetDenoiser, UViTDenoiser
from tstitch.errors import UserError

if TYPE_CHECKING:
    from models.pair import DenoiserSpec


@dataclass(frozen=True)
class Family:
    """A kind of network: how it is configured, built, read and initialised.

    Attributes:
        config: from plain values to the network's configuration; has `input_size`, `in_channels` and `num_classes`.
        build: from a configuration to a denoiser without weights, on the device of the context.
        read: from a specification to the weights in our own keys, whatever the layout of the file.
        initialize: sets a network's weights before training.
        released_rule: how the release turns a fraction into steps; see `tstitch.allocation.RULES`.
        predicts_regions: whether its denoisers evaluate a part of the latents for a part of the cost.
    """

    config: Callable[[str, dict], object]
    build: Callable[[object], ClassConditionalDenoiser]
    read: Callable[[DenoiserSpec], dict[str, Tensor]]
    initialize: Callable[[nn.Module], None]
    released_rule: str
    predicts_regions: bool = False


def find_family(name: str) -> Family:
    """Find a family by name.

    Raises:
        UserError: there is no such family.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown family of denoisers {name!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


# The networks are imported where they are used: that takes seconds, which bad input should not wait for.


def _dit_config(name: str, values: dict) -> object:
    from models.networks.dit import DiTConfig, dit_config

    _check_keys(name, values, [*(field.name for field in fields(DiTConfig)), "preset"])
    return dit_config(**values)


def _build_dit(config: object) -> ClassConditionalDenoiser:
    from models.networks.dit import DiT

    return DiTDenoiser(DiT(config))


def _read_dit(spec: DenoiserSpec) -> dict[str, Tensor]:
    from models.weights.read import read_state_dict

    if spec.folder is None:
        return read_state_dict(spec.path)

    from models.weights.dit_folder import read_dit_folder

    return read_dit_folder(spec.folder, spec.config)


def _initialize_dit(network: nn.Module) -> None:
    from models.networks.dit import initialize_dit

    initialize_dit(network)


def _unet_config(name: str, values: dict) -> object:
    from models.networks.unet import UNetConfig

    _check_keys(name, values, [field.name for field in fields(UNetConfig)])
    return UNetConfig(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _build_unet(config: object) -> ClassConditionalDenoiser:
    from models.networks.unet import ClassConditionalUNet

    return UNetDenoiser(ClassConditionalUNet(config))


def _read_unet(spec: DenoiserSpec) -> dict[str, Tensor]:
    from models.weights.layouts import unet_state
    from models.weights.read import read_state_dict

    state = read_state_dict(spec.weights)
    if any(key.startswith("unet.") for key in state):
        return state
    try:
        return unet_state(state, spec.config.num_res_blocks, spec.ema)
    except UserError as error:
        raise UserError(f"weights {spec.weights}: {error}") from error


def _uvit_config(name: str, values: dict) -> object:
    from models.networks.uvit import UViTConfig, uvit_config

    _check_keys(name, values, [*(field.name for field in fields(UViTConfig)), "preset"])
    return uvit_config(**values)


def _build_uvit(config: object) -> ClassConditionalDenoiser:
    from models.networks.uvit import UViT

    return UViTDenoiser(UViT(config))


def _snnet_config(name: str, values: dict) -> object:
    from models.networks.snnet import SNNetConfig

    _check_keys(name, values, ["small", "large", "block"])
    small, large = (_dit_config(f"{name}, {size}", values[size]) for size in ("small", "large"))
    return SNNetConfig(small, large, values["block"])


def _build_snnet(config: object) -> ClassConditionalDenoiser:
    from models.networks.snnet import SNNet

    return SNNetDenoiser(SNNet(config))


def _read_file(spec: DenoiserSpec) -> dict[str, Tensor]:
    from models.weights.read import read_state_dict

    return read_state_dict(spec.weights)


def _initialize_uvit(network: nn.Module) -> None:
    from models.networks.uvit import initialize_uvit

    initialize_uvit(network)


def _keep_defaults(network: nn.Module) -> None:
    """Leave the weights as PyTorch initialises them."""


def _check_keys(name: str, values: dict, known: list[str]) -> None:
    unknown = sorted(values.keys() - set(known))
    if unknown:
        raise UserError(f"unknown key {unknown[0]!r} in the config of {name}; known: {', '.join(known)}")


FAMILIES = {
    "dit": Family(_dit_config, _build_dit, _read_dit, _initialize_dit, "timestep", predicts_regions=True),
    "ldm": Family(_unet_config, _build_unet, _read_unet, _keep_defaults, "timestep_strict"),
    "uvit": Family(_uvit_config, _build_uvit, _read_file, _initialize_uvit, "timestep"),
    "snnet": Family(_snnet_config, _build_snnet, _read_file, _keep_defaults, "timestep"),
}
