"""From a configuration to a plan of sampling from prompts: everything that is decided before a network is loaded."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from models.checkout import resolve_path
from models.pipelines import COMPONENTS, PipelineSpec, check_files, digests, load_scheduler, scheduler_digests
from sampling.precision import choose_precision
from sampling.prompts.captions import read_captions
from settings.prompts import PromptSettings
from tstitch.allocate import parse_shares
from tstitch.allocation import Allocation, describe_allocation, fractions_of, show_fractions
from tstitch.errors import UserError, explain_no_file
from tstitch.schedule import NoiseSchedule
from tstitch.solvers.scheduler_steps import make_trajectory, schedule_of

RESIZE_RULE = "Pillow bicubic"
OF_COMMAND = ("prompt", "generator", "output_type")  # of a pipeline's arguments
SIDES, USUAL_SIDE = ("height", "width"), 1024


@dataclass(frozen=True)
class PromptPlan:
    """A resolved run: prompt i % P makes image i, from noise of its own."""

    spec: PipelineSpec
    captions: list[str]
    call: dict
    control_image: Path | None
    timesteps: tuple[float, ...]
    allocation: Allocation
    num_images: int
    batch_size: int
    seed: int
    precision: str
    resize: int | None
    deepcache_interval: int | None
    tome_ratio: float | None
    evaluation: dict

    @property
    def names(self) -> list[str]:
        """Of the denoisers, small to large."""
        return [folder.name if folder.name not in COMPONENTS else folder.parent.name
                for folder in self.spec.denoisers]  # fmt: skip

    @property
    def fractions(self) -> list[float]:
        """The share of the steps that each denoiser really takes."""
        return fractions_of(self.allocation, len(self.spec.denoisers))

    @property
    def title(self) -> str:
        """A name among the plans of its pipeline."""
        return show_fractions(self.fractions)

    @property
    def sampler_name(self) -> str:
        """The scheduler's class."""
        return type(load_scheduler(self.spec)).__name__

    @property
    def resolved_settings(self) -> list:
        """Return the settings that a sweep may vary, resolved."""
        return [self.allocation, *self.settings_of_large]

    @property
    def settings_of_large(self) -> list:
        """The part of them that decides the images of the large model alone."""
        return [self.call, self.sampler_name]

    @property
    def residency(self) -> str:
        """All denoisers are in memory together."""
        return "both"

    @property
    def missing_weights(self) -> list[Path]:
        """Nothing: without its folders there is no plan."""
        return []

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """The shape (H, W, 3) of an image; None where only the pipeline knows its height and width."""
        sides = [self.resize or self.call.get(key) for key in SIDES]
        return None if None in sides else (*sides, 3)

    @property
    def image_bytes(self) -> int:
        """The size of one image, (H, W, 3) bytes; a guess where only the pipeline knows its height and width."""
        sides = [self.resize or self.call.get(key, USUAL_SIDE) for key in SIDES]
        return 3 * sides[0] * sides[1]

    def describe(self) -> str:
        """The resolved allocation and guidance, in a line."""
        scale = self.call.get("guidance_scale", "the pipeline's own")
        return f"{describe_allocation(self.allocation, self.timesteps, self.names)}; guidance scale {scale}"

    def directory_name(self) -> str:
        """Readable part of the default directory's name."""
        return f"prompts-{'-'.join(self.names)}"

    def identity(self, device_type: str) -> dict:
        """Everything that decides the bytes of the images. Reads the weights, for their checksums."""
        matched = {"schedules": scheduler_digests(self.spec)} if "schedule" in self.spec.allow else {}
        return {
            **matched,
            "pipeline": digests(self.spec),
            "scheduler": self.spec.scheduler,
            "labels": f"captions {hashlib.sha256(json.dumps(self.captions).encode()).hexdigest()}",
            "call": self.call,
            "control_image": self.control_image and hashlib.sha256(self.control_image.read_bytes()).hexdigest(),
            "allocation": list(self.allocation),
            "num_images": self.num_images,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "precision": self.precision,
            "resize": self.resize and [self.resize, RESIZE_RULE],
            "deepcache_interval": self.deepcache_interval,
            "tome_ratio": self.tome_ratio,
            "device": device_type,
        }


def make_prompt_plan(settings: PromptSettings) -> PromptPlan:
    """Check a configuration as far as that is cheap.

    Raises:
        UserError: a value cannot be, or a file is missing.
    """
    _check_packages()
    captions, spec = check_inputs(settings)
    call = {key: value for key, value in settings.call.as_dict().items() if value is not None}
    for key in OF_COMMAND:
        if key in call:
            raise UserError(f"call.{key} is this command's own; leave it out")
    for key in ("deepcache_interval", "tome_ratio"):
        if getattr(settings, key) is not None and spec.component != "unet":
            raise UserError(f"{key} is for pipelines with a unet; {spec.large} has a {spec.component}")
    timesteps, schedule = _read_scheduler(spec, call["num_inference_steps"])
    allocation = (0,) * len(timesteps)
    if spec.small:
        shares = parse_shares(len(spec.denoisers), settings.stitch.as_dict(), prefix="stitch.")
        allocation = shares.allocate(timesteps, schedule)
        shares.warn_of_rounding(allocation)
    return PromptPlan(
        spec=spec,
        captions=captions,
        call=call,
        control_image=_path(settings.control_image),
        timesteps=timesteps,
        allocation=allocation,
        num_images=settings.num_images or len(captions),
        batch_size=settings.batch_size,
        seed=settings.seed,
        precision=choose_precision(settings.precision, "precision", settings.device),
        resize=settings.resize,
        deepcache_interval=settings.deepcache_interval,
        tome_ratio=settings.tome_ratio,
        evaluation=settings.evaluation.as_dict(),
    )


def check_inputs(settings: PromptSettings) -> tuple[list[str], PipelineSpec]:
    """The captions and the parts of a pipeline, whose files are there.

    Raises:
        UserError: the first that is not.
    """
    captions, spec = _captions(settings), _spec(settings)
    control_image = _path(settings.control_image)
    if control_image is not None and not control_image.is_file():
        raise UserError(f"control_image={control_image} {explain_no_file(control_image)}")
    if control_image is not None:
        try:
            Image.open(control_image).verify()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # a broken PNG is a SyntaxError
            raise UserError(f"control_image={control_image} is no image that can be read: {error}") from error
    return captions, spec


def _check_packages() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are local files only
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise UserError("this command needs the extra 'pipelines': pip install '.[research,pipelines]'") from error


def _captions(settings: PromptSettings) -> list[str]:
    if settings.captions is not None:
        return read_captions(resolve_path(settings.captions))
    return [settings.prompt]


def _spec(settings: PromptSettings) -> PipelineSpec:
    small = settings.small
    spec = PipelineSpec(
        large=resolve_path(settings.large),
        small=tuple(map(resolve_path, small)),
        denoiser=_path(settings.large_denoiser),
        vae=_path(settings.vae),
        controlnet=_path(settings.controlnet),
        loras=tuple(map(_path, settings.loras or [None] * (len(small) + 1))),
        scheduler=settings.scheduler,
        allow=tuple(settings.allow or []),
    )
    check_files(spec)
    return spec


def _read_scheduler(spec: PipelineSpec, num_steps: int) -> tuple[tuple[float, ...], NoiseSchedule | None]:
    """Timesteps of the solver steps, for which a pipeline may call its denoiser more than once, and the schedule."""
    scheduler = load_scheduler(spec)
    try:
        scheduler.set_timesteps(num_steps)
    except ValueError as error:
        raise UserError(f"{type(scheduler).__name__} refused {num_steps} steps: {error}") from error
    return make_trajectory(scheduler).timesteps, schedule_of(scheduler)


def _path(value: str | None) -> Path | None:
    return None if value is None else resolve_path(value)
