"""A pair: two or more denoisers, small to large, with the autoencoder that they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.families import find_family
from models.placement.place import place
from models.placement.precision import Products, products
from models.weights.folders import folder_files, folder_weights, is_folder, network_folder
from models.weights.read import check_state
from tstitch.convention import Convention, make_convention
from tstitch.errors import UserError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel

    from models.denoisers import ClassConditionalDenoiser
    from models.networks.dit import DiTConfig
    from models.networks.unet import UNetConfig
    from models.networks.uvit import UViTConfig


@dataclass(frozen=True)
class DenoiserSpec:
    """A denoiser that can be loaded: its name, family, shape, and where its weights lie.

    `path` is a file in the official or in our own layout, or for `dit` a folder of diffusers: of the transformer, or
    of a pipeline that has one.
    `ema` picks the averaged weights of an LDM checkpoint that holds both. `schedule` has the kind and the numbers of
    the noise schedule that it was trained with, None for that of any trajectory; `prediction` is what it predicts.
    """

    name: str
    family: str
    config: DiTConfig | UNetConfig | UViTConfig
    path: Path
    ema: bool = False
    schedule: tuple[tuple[str, float | str], ...] | None = None
    prediction: str = "eps"

    @property
    def folder(self) -> Path | None:
        """The folder of `config.json` and the weights; None where `path` is a file."""
        return network_folder(self.path, "transformer") if is_folder(self.path) else None

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.path if self.folder is None else folder_weights(self.folder)

    @property
    def files(self) -> list[Path]:
        """The files that loading reads, whether they exist or not."""
        return [self.path] if self.folder is None else folder_files(self.folder)


@dataclass(frozen=True)
class Pair:
    """Loaded networks. What is not used is None."""

    denoisers: list[ClassConditionalDenoiser | None]
    autoencoder: AutoencoderKL | VQModel | None
    autoencoder_products: Products = nullcontext

    def use(self, models: Sequence[int]) -> AbstractContextManager[Mapping[int, ClassConditionalDenoiser]]:
        """Hold the denoisers at the indices `models` ready on the device."""
        return nullcontext({index: self.denoisers[index] for index in models})

    @contextmanager
    def use_autoencoder(self) -> Iterator[AutoencoderKL | VQModel]:
        """Hold the autoencoder ready on the device, multiplying in its precision."""
        with self.autoencoder_products():
            yield self.autoencoder


def denoiser_spec(
    name: str,
    family: str,
    path: Path,
    config: dict,
    ema: bool = False,
    schedule: dict | None = None,
    prediction: str = "eps",
) -> DenoiserSpec:
    """Make a specification from plain values; `config` has the names of the family's configuration, or a preset."""
    stated = None if schedule is None else tuple(sorted(schedule.items()))
    return DenoiserSpec(name, family, find_family(family).config(name, config), path, ema, stated, prediction)


def own_convention(spec: DenoiserSpec, trajectory: dict) -> Convention | None:
    """Return the convention of a denoiser where it is another than eps on the trajectory's schedule, else None.

    Args:
        trajectory: kind and numbers of the trajectory's schedule.
    """
    stated = trajectory if spec.schedule is None else dict(spec.schedule)
    if stated == trajectory and spec.prediction == "eps":
        return None
    return make_convention(spec.prediction, **stated)


def check_denoisers(specs: Sequence[DenoiserSpec]) -> None:
    """Raise `UserError` unless all denoisers share latents and classes."""
    for spec in specs[1:]:
        for name in ("input_size", "in_channels", "num_classes"):
            ours, first = getattr(spec.config, name), getattr(specs[0].config, name)
            if ours != first:
                raise UserError(f"{spec.name} has {name} {ours}, but {specs[0].name} has {first}; a pair shares them")


def load_pair(
    specs: Sequence[DenoiserSpec],
    used: Collection[int],
    autoencoder: AutoencoderSpec | None,
    precisions: Sequence[str],
    device: torch.device,
    autoencoder_precision: str = "float32",
) -> Pair:
    """Load the autoencoder, unless None, and the denoisers whose index is in `used`; nothing else.

    Args:
        precisions: one of `models.placement.precision.DTYPES` for each of `specs`.
    """
    denoisers = [
        load_denoiser(spec, precision, device) if index in used else None
        for index, (spec, precision) in enumerate(zip(specs, precisions, strict=True))
    ]
    if autoencoder is None:
        return Pair(denoisers, None)
    loaded = place(load_autoencoder(autoencoder), autoencoder_precision, device)
    return Pair(denoisers, loaded, products(autoencoder_precision, device))


def build_denoiser(spec: DenoiserSpec) -> ClassConditionalDenoiser:
    """Build a denoiser without its weights, on the device of the context."""
    return find_family(spec.family).build(spec.config)


def load_denoiser(spec: DenoiserSpec, precision: str, device: torch.device) -> ClassConditionalDenoiser:
    """Load one denoiser in evaluation mode, in one of `models.placement.precision.DTYPES`."""
    with torch.device("meta"):
        denoiser = build_denoiser(spec)
    state = find_family(spec.family).read(spec)
    check_state(denoiser.network, state, spec.weights)
    denoiser.network.load_state_dict(state, assign=True)
    return type(denoiser)(place(denoiser.network, precision, device), products(precision, device))
