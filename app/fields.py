"""The first values of the page's fields: the settings of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from app.wish import Wish, is_of_a_field
from models.checkout import CONFIG_DIR, ROOT
from sampling.job import RunPlan
from settings.app import AppSettings, PromptAppSettings, Served
from settings.names import ALLOCATION


@dataclass(frozen=True)
class Fields:
    """The first values of the page's fields.

    Attributes:
        names: of the denoisers, small to large.
        pair: its name; None for a pipeline.
        base: overrides of every run that no field of the page is for.
        first: the wish that the settings are.
    """

    names: Sequence[str]
    pair: str | None
    base: Sequence[str]
    first: Wish


def make_fields(settings: AppSettings | PromptAppSettings, plan: RunPlan, overrides: Sequence[str]) -> Fields:
    """Make the fields of a command line.

    Args:
        plan: of the settings.
        overrides: of the command line.
    """
    more = [text for text in overrides if not (is_of_a_field(text) or text.partition("=")[0] in Served.model_fields)]
    is_listed = any(word != "fraction" for word in settings.stitch.explicit) and plan.allocation is not None
    of_both = {
        "num_denoisers": len(plan.names),
        "shares": _shares(settings, plan),
        "per_step": ",".join(map(str, plan.allocation)) if is_listed else "",
        "num_steps": len(plan.timesteps),
        "seed": str(settings.seed),
        "num_images": settings.num_images,
    }
    if isinstance(settings, PromptAppSettings):
        scale = settings.call.guidance_scale
        first = Wish(
            **of_both,
            router=ALLOCATION,
            knobs="",
            sampler=settings.scheduler or "",
            guidance="null" if scale is None else f"{scale:g}",
            prompt=settings.prompt,
        )
        return Fields(plan.names, None, more, first)

    name, kind = settings.pair.name, settings.router.kind
    own_pair = [] if any(text.startswith("pair=") for text in more) else [f"pair={name}"]
    own_labels = [] if any(text.startswith("labels=") for text in more) else [f"labels={settings.labels}"]
    scale = settings.guidance.scale
    first = Wish(
        **of_both,
        router=kind,
        knobs=show_knobs(settings.router.as_dict()),
        sampler=settings.sampler.name,
        guidance=f"{scale:g}" if isinstance(scale, float | int) else str(scale),
    )
    return Fields(plan.names, name, [*own_pair, *more, *own_labels], first)


def _shares(settings: AppSettings | PromptAppSettings, plan: RunPlan) -> tuple[float, ...]:
    """The shares as they were asked for, of each denoiser but the last; of an explicit allocation what it has."""
    stitch = settings.stitch
    if stitch.fraction is not None:
        return (stitch.fraction,)
    asked = stitch.fractions if not stitch.explicit and stitch.fractions is not None else plan.fractions
    return tuple(asked)[:-1]


def default_knobs(router: str, pair: str) -> str:
    """The settings of a router as its file has them, with the calibration that the zoo has of the pair."""
    values = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / "router" / f"{router}.yaml"))
    calibration = f"models/zoo/calibration/{pair}.json"
    if values.get("calibration") == "???" and (ROOT / calibration).is_file():
        values["calibration"] = calibration
    return show_knobs(values)


def show_knobs(values: Mapping[str, object]) -> str:
    """Settings of a router as `KEY=VALUE`, without its kind and what is not given."""
    shown = {key: value for key, value in values.items() if key != "kind" and value not in (None, "???")}
    return " ".join(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in shown.items())
