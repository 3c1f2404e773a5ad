"""From a configuration to a plan: everything that is decided before a network is loaded."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.autoencoder import AutoencoderSpec
from models.checkout import resolve_path
from models.families import find_family
from models.pair import DenoiserSpec, check_denoisers, denoiser_spec, own_convention
from models.placement.compiled import check_compile_mode
from models.weights.catalog import explain_missing
from sampling.identity import plan_identity
from sampling.precision import choose_precision, choose_precisions, on_cpu, show_precisions
from sampling.routing import make_router
from settings.names import ALLOCATION
from settings.networks import Autoencoder, Denoiser
from settings.router import AnyRouter
from settings.sampling import SamplingSettings
from tstitch.allocate import Shares, parse_shares
from tstitch.allocation import Allocation, fractions_of, show_fractions
from tstitch.convention import Convention, match_timestep
from tstitch.errors import UserError
from tstitch.guidance import check_scale, parse_channels
from tstitch.router import AllocationRouter, Router
from tstitch.schedule import NoiseSchedule, make_schedule, make_timesteps
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import Solver, Step, trajectory_steps


@dataclass(frozen=True)
class Plan:
    """A resolved sampling run, checked as far as that is cheap."""

    pair: str
    specs: list[DenoiserSpec]
    autoencoder: AutoencoderSpec
    schedule: NoiseSchedule
    schedule_settings: dict
    sampler: dict
    solver: Callable[[], Solver]
    timesteps: list[int]
    router: Router
    scales: list[float]
    history: str
    channels: list[int | None]
    match: str
    num_images: int
    batch_size: int
    seed: int
    labels: str
    precisions: list[str]
    autoencoder_precision: str
    compile: str
    residency: str
    evaluation: dict
    routing: AnyRouter

    @property
    def steps(self) -> list[Step]:
        return trajectory_steps(self.schedule, self.timesteps)

    @property
    def allocation(self) -> Allocation | None:
        """The denoiser of each step; None where it is not known before the run."""
        return self.router.allocation if isinstance(self.router, AllocationRouter) else None

    @cached_property
    def conventions(self) -> list[Convention | None]:
        """The convention by which each denoiser is matched, None where it takes the trajectory's own timesteps."""
        return [None] * len(self.specs) if self.match == "index" else self.own_conventions

    @cached_property
    def own_conventions(self) -> list[Convention | None]:
        """The convention that each denoiser was trained with, None where it is eps on the trajectory's own schedule."""
        return [own_convention(spec, self.schedule_settings) for spec in self.specs]

    @property
    def used(self) -> list[int]:
        return sorted({model for stage in self.router.stages(self.steps) for model in stage.models})

    @property
    def precision(self) -> str:
        """The denoisers' precision as it is recorded: one name, or `[float32,bf16]` where they differ."""
        return show_precisions(self.precisions)

    @property
    def in_float32(self) -> str:
        """The settings that would run in float32 what does not; empty where everything does."""
        settings = {"precision": self.precisions, "autoencoder_precision": [self.autoencoder_precision]}
        return " ".join(f"{key}=float32" for key, values in settings.items() if set(values) != {"float32"})

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.specs]

    @property
    def fractions(self) -> list[float] | None:
        """The share of the steps that each denoiser really takes; None where it is not known before the run."""
        return None if self.allocation is None else fractions_of(self.allocation, len(self.specs))

    @property
    def title(self) -> str:
        """A name among the plans of its pair: its fractions, or its router."""
        if self.routing.kind == ALLOCATION:
            return show_fractions(self.fractions)
        if self.fractions is None:
            return self.routing.title
        if self.routing.shares_are_expected:
            num_steps = len(self.timesteps)
            return f"{self.routing.title} {self.fractions[-1] * num_steps:g} of {num_steps} steps"
        return f"{self.routing.title} {show_fractions(self.fractions)}"

    @property
    def sampler_name(self) -> str:
        return self.sampler["name"]

    @property
    def resolved_settings(self) -> list:
        """List what a sweep may vary of it, resolved: guidance counts where its denoiser takes a step."""
        match = [self.match] if any(self.own_conventions[index] is not None for index in self.used) else []
        return [self.router.identity(), {index: self.scales[index] for index in self.used}, self.sampler, *match]

    @property
    def settings_of_large(self) -> list:
        """The part of them that decides the images of the large model alone."""
        match = {} if self.own_conventions[-1] is None else {"match": self.match}
        return [self.scales[-1], self.sampler | match]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of an image's latents."""
        config = self.specs[0].config
        return config.in_channels, config.input_size, config.input_size

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of an image."""
        side = self.specs[0].config.input_size * self.autoencoder.downsampling
        return side, side, 3

    @property
    def image_bytes(self) -> int:
        """The size of one image, (H, W, 3) bytes."""
        return math.prod(self.image_shape)

    @property
    def missing_weights(self) -> list[Path]:
        """Files that the plan needs and that are not there."""
        needed = [file for index in self.used for file in self.specs[index].files] + self.autoencoder.files
        return [path for path in dict.fromkeys(needed) if not path.is_file()]

    def describe(self) -> str:
        """The resolved allocation and guidance, in a line."""
        guidance = ", ".join(f"{self.names[index]} {self.scales[index]:g}" for index in self.used)
        plan = f"{self.router.describe(self.steps, self.names)}; guidance scale: {guidance}"
        plan = "; ".join([plan, *self._describe_matches()])
        asked, num_steps = self.sampler["num_steps"], len(self.timesteps)
        if num_steps == asked:
            return plan
        return f"{plan}; grid {self.sampler['grid']} gives {num_steps} steps where {asked} were asked for"

    def _describe_matches(self) -> Iterator[str]:
        """Say of each denoiser of another schedule which of its timesteps it is asked for, and where it has none."""
        for index in self.used:
            convention = self.conventions[index]
            if convention is None:
                continue
            stages = [stage for stage in self.router.stages(self.steps) if index in stage.models]
            asked = [step.timestep for stage in stages for step in self.steps[stage.start : stage.stop]]
            matches = [match_timestep(self.schedule, convention.schedule, timestep) for timestep in asked]
            clamped = [timestep for timestep, match in zip(asked, matches, strict=True) if match.is_clamped]
            at = f"t = {matches[0].timestep:.1f}..{matches[-1].timestep:.1f} of its own schedule"
            lacking = ", ".join(map(str, clamped))
            beyond = f", which does not reach t = {lacking} of the trajectory" if clamped else ""
            yield f"{self.names[index]} by signal to noise at {at}{beyond}"

    def identity(self, device_type: str) -> dict:
        """Everything that decides the bytes of the images. Reads the weights, for their checksums."""
        return plan_identity(self, device_type)

    def directory_name(self) -> str:
        """Readable part of the default directory's name."""
        stitched = self.routing.kind
        if self.allocation is not None:
            stitched = "_".join(f"{fraction:g}" for fraction in self.fractions)
        scale = "_".join(f"{scale:g}" for scale in dict.fromkeys(self.scales))
        sampler = f"{self.sampler['name']}{self.sampler['num_steps']}"
        return f"{self.pair}-{stitched}-{sampler}-cfg{scale}-n{self.num_images}-seed{self.seed}"


def make_plan(settings: SamplingSettings) -> Plan:
    """Resolve a sampling configuration, and check what its schema cannot; nothing expensive happens.

    Raises:
        UserError: names the value that cannot be used and what would be accepted.
    """
    pair, sampler, device = settings.pair, settings.sampler, settings.device
    check_compile_mode(settings.compile, device)
    specs = [denoiser_spec(**_with_place(each)) for each in pair.denoisers.values()]
    check_denoisers(specs)
    schedule = make_schedule(**pair.schedule.as_dict())
    timesteps = make_timesteps(sampler.grid, sampler.num_steps, schedule.num_train_timesteps)
    steps, scales = trajectory_steps(schedule, timesteps), _scales(settings.guidance.scale, specs)
    allocation = _shares(settings, specs).allocate(timesteps, schedule)
    plan = Plan(
        pair=pair.name,
        specs=specs,
        autoencoder=AutoencoderSpec(**_with_place(pair.autoencoder)),
        schedule=schedule,
        schedule_settings=pair.schedule.as_dict(),
        sampler=sampler.as_dict(),
        solver=solver_factory(sampler.name, schedule, timesteps, sampler.eta),
        timesteps=timesteps,
        router=make_router(settings.router, allocation, specs, scales, steps),
        history=sampler.history,
        scales=scales,
        channels=_channels(settings.guidance.channels, specs),
        match=settings.match,
        num_images=settings.num_images,
        batch_size=settings.batch_size,
        seed=settings.seed,
        labels=settings.labels,
        precisions=choose_precisions(settings.precision, len(specs), device),
        autoencoder_precision=choose_precision(settings.autoencoder_precision, "autoencoder_precision", device),
        compile=settings.compile,
        residency=_residency(settings),
        evaluation=pair.evaluation.as_dict(),
        routing=settings.router,
    )
    _check_variance(plan)
    if plan.missing_weights and not settings.dry_run:
        raise UserError(explain_missing(plan.missing_weights, plan.pair))
    return plan


def _check_variance(plan: Plan) -> None:
    for index in plan.used if plan.sampler_name == "ddpm" else ():
        if plan.conventions[index] is not None or not getattr(plan.specs[index].config, "learn_sigma", False):
            raise UserError(
                f"sampler ddpm needs denoisers that predict a variance for the trajectory's schedule, and "
                f"{plan.names[index]} does not; use sampler=ddim with sampler.eta=1"
            )


def _with_place(network: Denoiser | Autoencoder) -> dict:
    """The settings of a network, with the place of its weights."""
    return {**network.as_dict(), "path": resolve_path(network.path)}


def _shares(settings: SamplingSettings, specs: list[DenoiserSpec]) -> Shares:
    """The shares that a configuration asks for: its fractions, unless it says otherwise."""
    given = {word: values for word, values in settings.stitch.as_dict().items() if values is not None}
    if len(given) > 1:
        given.pop("fractions", None)
    rule, order = settings.allocation.rule, settings.allocation.order
    if rule == "timestep":
        rule = find_family(specs[0].family).released_rule
    return parse_shares(len(specs), given, rule, order, settings.seed, prefix="stitch.")


def _scales(scale: float | list[float], specs: list[DenoiserSpec]) -> list[float]:
    scales = scale if isinstance(scale, list) else [scale] * len(specs)
    if len(scales) != len(specs):
        raise UserError(f"guidance.scale needs one value or {len(specs)}, got {scales}")
    for value in scales:
        check_scale(value)
    return [float(value) for value in scales]


def _channels(channels: int | str | list[int | str], specs: list[DenoiserSpec]) -> list[int | None]:
    given = channels if isinstance(channels, list) else [channels] * len(specs)
    if len(given) != len(specs):
        raise UserError(f"guidance.channels needs one value or {len(specs)}, got {given}")
    return [parse_channels(each, spec.config.in_channels) for each, spec in zip(given, specs, strict=True)]


def _residency(settings: SamplingSettings) -> str:
    if settings.residency == "swap" and on_cpu(settings.device):
        warnings.warn("residency=swap has no effect on a CPU; staged keeps one denoiser in memory", stacklevel=2)
    elif settings.residency == "swap" and settings.compile == "max":
        raise UserError("residency=swap moves weights, whose places compile=max records; use compile=default")
    return settings.residency
