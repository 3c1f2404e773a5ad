"""A place in a sweep's grid: the complete settings of its run, and what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from omegaconf import OmegaConf

from models.checkout import CONFIG_DIR
from settings.check import check_router, check_router_fits
from settings.names import ALLOCATION
from settings.prompts import PromptSettings
from settings.router import Router
from settings.sampling import Sampler, SamplingSettings

AnySettings = TypeVar("AnySettings", SamplingSettings, PromptSettings)


@dataclass(frozen=True)
class Place(Generic[AnySettings]):
    """Settings of a run, and what of them the grid asked for, under the names of `evaluation.report.sweep.Asked`."""

    settings: AnySettings
    asked: dict
    takes_shares: bool = True


def class_place(base: SamplingSettings, chosen: dict) -> Place[SamplingSettings]:
    """The place of a run of `scripts.sample`.

    Args:
        base: the settings of the sweep.
        chosen: a value of each axis by the axis's name, None for the one in `base`.
    """
    scale = _or(chosen["guidance_scales"], base.guidance.scale)
    order, rule = _or(chosen["orders"], base.allocation.order), _or(chosen["rules"], base.allocation.rule)
    sampler = sampler_named(_or(chosen["samplers"], base.sampler.name), base.sampler, base.pair.grid)
    num_steps = _or(chosen["num_steps"], sampler.num_steps)
    router = base.router if chosen["routers"] is None else _router(chosen["routers"])
    match = _or(chosen["matches"], base.match)
    settings = base.changed(
        stitch={"fractions": chosen["fractions"]} if router.takes_shares else {},
        router=router,
        match=match,
        guidance={"scale": scale},
        sampler=sampler.changed(num_steps=num_steps),
        allocation={"order": order, "rule": rule},
    )
    is_constant = isinstance(scale, list) and all(value == scale[0] for value in scale)
    shown = scale[0] if is_constant else scale  # a list of equal scales is the one number that it means
    check_router_fits(settings)
    label = router.label if match == "snr" else f"{router.label} match={match}"
    asked = _asked(chosen["fractions"], shown, num_steps, order, rule, label, router.shown_knob)
    return Place(settings, asked, router.takes_shares)


def prompt_place(base: PromptSettings, chosen: dict) -> Place[PromptSettings]:
    """The place of a run of `scripts.prompts`, whose sampler is a scheduler and whose order is small to large."""
    scale = _or(chosen["guidance_scales"], base.call.guidance_scale)
    num_steps = _or(chosen["num_steps"], base.call.num_inference_steps)
    settings = base.changed(
        stitch={"fractions": chosen["fractions"]},
        call={"guidance_scale": scale, "num_inference_steps": num_steps},
        scheduler=_or(chosen["samplers"], base.scheduler),
    )
    shown = "the pipeline's own" if scale is None else scale
    return Place(settings, _asked(chosen["fractions"], shown, num_steps, "small_to_large", "steps"))


def _asked(
    fractions: list[float], scale: object, num_steps: object, order: object, rule: object,
    router: str = ALLOCATION, knob: str | None = None,
) -> dict:  # fmt: skip
    return {
        "fractions": fractions, "guidance_scale": scale, "num_steps": num_steps, "order": order, "rule": rule,
        "router": router, "knob": knob,
    }  # fmt: skip


def _router(chosen: dict) -> Router:
    """The settings of a router: those that were chosen, and the defaults of its kind for the others."""
    defaults = OmegaConf.load(CONFIG_DIR / "router" / f"{chosen['kind']}.yaml")
    merged = OmegaConf.merge(defaults, chosen)
    given = {
        key: value for key, value in OmegaConf.to_container(merged).items() if not OmegaConf.is_missing(merged, key)
    }
    return check_router(given)


def _or(value: object, default: object) -> object:
    return default if value is None else value


def sampler_named(name: str, chosen: Sampler, grid: str) -> Sampler:
    """The settings of a sampler by name: those that were chosen, or the defaults of another one."""
    if name == chosen.name:
        return chosen
    base, own = (OmegaConf.load(CONFIG_DIR / place) for place in ("base/sampler.yaml", f"sampler/{name}.yaml"))
    del own["defaults"]
    with_pair = OmegaConf.create({"pair": {"grid": grid}, "sampler": OmegaConf.merge(base, own)})
    return Sampler.model_validate(OmegaConf.to_container(with_pair, resolve=True)["sampler"])
