"""The convention of a network of diffusers, as the configuration of its scheduler tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from tstitch.convention import Convention, FlowSchedule
from tstitch.schedule import NoiseSchedule

PREDICTION_TYPES = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
SCHEDULER = "scheduler/scheduler_config.json"
OF_BETAS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr",
    "snr_shift_scale",
)  # fmt: skip


def find_scheduler_config(network: nn.Module, pipe: object | None) -> Mapping | None:
    """Return the configuration of its pipeline's scheduler, or of the one beside its weights; None without either."""
    if pipe is not None:
        return config_of(pipe.scheduler)
    from huggingface_hub import try_to_load_from_cache

    source = str(network.config.get("_name_or_path") or "")
    place = scheduler_file(Path(source)) if source else None
    if place is None and source.count("/") == 1 and not Path(source).exists():
        cached = try_to_load_from_cache(source, SCHEDULER)
        place = Path(cached) if isinstance(cached, str) else None
    return None if place is None else json.loads(place.read_text())


def scheduler_file(folder: Path) -> Path | None:
    """Find the scheduler's configuration of the pipeline that a network's folder is, or lies in."""
    places = [folder / SCHEDULER, folder.parent / SCHEDULER]
    return next((place for place in places if place.is_file()), None)


def config_of(scheduler: object) -> dict:
    """Return the configuration of a scheduler, with the name of its class."""
    return {"_class_name": type(scheduler).__name__, **scheduler.config}


def prediction_type(config: Mapping) -> str:
    """Return what a network predicts, in diffusers' words, and `flow` for the velocity of flow matching."""
    flow = "FlowMatch" in str(config.get("_class_name")) or config.get("prediction_type") == "flow_prediction"
    return "flow" if flow else config.get("prediction_type") or "epsilon"


def convention_of(config: Mapping) -> Convention | None:
    """Read the convention of a network; None where the configuration has neither betas nor a flow, or is not known.

    Timesteps that are no indices of betas (EDM's quarter of a logarithm) are not known.
    """
    kind = prediction_type(config)
    if kind == "flow":
        return Convention(FlowSchedule(config.get("num_train_timesteps") or 1000), "flow")
    has_betas = config.get("beta_schedule") or config.get("trained_betas")
    if kind not in PREDICTION_TYPES or not has_betas or config.get("timestep_type") == "continuous":
        return None
    from diffusers import CogVideoXDDIMScheduler, DDIMScheduler

    known = {key: config[key] for key in OF_BETAS if config.get(key) is not None}
    try:
        scheduler = (CogVideoXDDIMScheduler if "snr_shift_scale" in known else DDIMScheduler)(**known)
    except NotImplementedError:  # of a schedule that they do not have, such as DDPM's sigmoid
        return None
    alphas_cumprod = scheduler.alphas_cumprod.double().numpy()
    return Convention(NoiseSchedule(alphas_cumprod), PREDICTION_TYPES[kind])


def have_one_schedule(first: Convention, second: Convention) -> bool:
    """Tell whether two networks were trained on the same noise schedule."""
    values = [getattr(each.schedule, "alphas_cumprod", None) for each in (first, second)]
    if values[0] is None or values[1] is None:
        return first.schedule == second.schedule
    return len(values[0]) == len(values[1]) and np.allclose(*values, rtol=1e-3, atol=1e-6)


def schedule_reasons(small: nn.Module, small_pipe: object | None, pipe: object, allow: Sequence[str]) -> Iterator[str]:
    """Yield why a small network cannot take steps of a pipeline, as far as their schedulers tell.

    Args:
        small_pipe: the pipeline that it came in, if any.
        allow: with `prediction_type`, another one is no reason; with `schedule`, all is converted.
    """
    config, large_config = find_scheduler_config(small, small_pipe), config_of(pipe.scheduler)
    if config is None:
        if "schedule" in allow:
            yield "allow=['schedule'] needs its noise schedule; give the pipeline that it came in"
        return
    own, large = convention_of(config), convention_of(large_config)
    if "schedule" in allow:
        if own is None or large is None:
            yield "allow=['schedule'] needs schedulers with betas and whole timesteps, or of flow matching"
        channels = [small.config.get(key) for key in ("in_channels", "out_channels")]
        if None not in channels and channels[0] != channels[1]:
            yield f"allow=['schedule'] converts latents alone, it takes {channels[0]} channels and gives {channels[1]}"
        return
    types, matched = [prediction_type(each) for each in (config, large_config)], "allow=['schedule'] converts it"
    if "prediction_type" not in allow and types[0] != types[1]:
        yield f"it predicts {types[0]}, the large one {types[1]} ({matched}, allow=['prediction_type'] lets it pass)"
    elif own is not None and large is not None and types[0] == types[1] and not have_one_schedule(own, large):
        yield f"it was trained on another noise schedule ({matched})"
