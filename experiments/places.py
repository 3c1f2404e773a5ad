"""A place in a sweep's grid: the complete settings of its run, and what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import OmegaConf

from models.checkout import CONFIG_DIR
from tstitch.errors import UserError


@dataclass(frozen=True)
class Place:
    """Settings of a run, and what of them the grid asked for, under the names of `evaluation.report.sweep.Asked`."""

    settings: dict
    asked: dict


def class_place(base: dict, chosen: dict) -> Place:
    """The place of a run of `scripts.sample`.

    Args:
        base: its settings but for the axes.
        chosen: a value of each axis by the axis's name, None for the one in `base`.
    """
    guidance, allocation, sampler = base["guidance"], base["allocation"], base["sampler"]
    scale = _or(chosen["guidance_scales"], guidance["scale"])
    order, rule = _or(chosen["orders"], allocation["order"]), _or(chosen["rules"], allocation["rule"])
    own = _sampler(_or(chosen["samplers"], sampler["name"]), sampler, base["pair"]["grid"])
    own = {**own, "num_steps": _or(chosen["num_steps"], own["num_steps"])}
    settings = {
        **base,
        "stitch": {**base["stitch"], "fractions": chosen["fractions"]},
        "guidance": {**guidance, "scale": scale},
        "sampler": own,
        "allocation": {**allocation, "order": order, "rule": rule},
    }
    is_constant = isinstance(scale, list) and scale and all(value == scale[0] for value in scale)
    shown = scale[0] if is_constant else scale  # a list of equal scales is the one number that it means
    return Place(settings, _asked(chosen["fractions"], shown, own["num_steps"], order, rule))


def prompt_place(base: dict, chosen: dict) -> Place:
    """The place of a run of `scripts.prompts`, whose sampler is a scheduler and whose order is small to large."""
    scale = _or(chosen["guidance_scales"], base["call"]["guidance_scale"])
    num_steps = _or(chosen["num_steps"], base["call"]["num_inference_steps"])
    settings = {
        **base,
        "stitch": {**base["stitch"], "fractions": chosen["fractions"]},
        "call": {**base["call"], "guidance_scale": scale, "num_inference_steps": num_steps},
        "scheduler": _or(chosen["samplers"], base["scheduler"]),
    }
    shown = "the pipeline's own" if scale is None else scale
    return Place(settings, _asked(chosen["fractions"], shown, num_steps, "small_to_large", "steps"))


def _asked(fractions: list[float], scale: object, num_steps: object, order: object, rule: object) -> dict:
    return {"fractions": fractions, "guidance_scale": scale, "num_steps": num_steps, "order": order, "rule": rule}


def _or(value: object, default: object) -> object:
    return default if value is None else value


def _sampler(name: object, chosen: dict, grid: str) -> dict:
    """The settings of a sampler: those that were chosen, or the defaults of another one."""
    if name == chosen["name"]:
        return chosen
    path = CONFIG_DIR / "sampler" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise UserError(f"unknown sampler {name!r}; known: {', '.join(known)}")
    base, own = OmegaConf.load(CONFIG_DIR / "base" / "sampler.yaml"), OmegaConf.load(path)
    del own["defaults"]
    with_pair = OmegaConf.create({"pair": {"grid": grid}, "sampler": OmegaConf.merge(base, own)})
    return OmegaConf.to_container(with_pair, resolve=True)["sampler"]
