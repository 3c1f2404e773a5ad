"""The identity of a sampling run: everything that a plan resolves, unless it is named here as without effect."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from models.weights.read import read_settings
from tstitch.runs.digest import file_sha256

if TYPE_CHECKING:
    from models.autoencoder import AutoencoderSpec
    from sampling.plan import Plan

# Fields of a plan that decide no byte of the images, or that follow from others: a field that is not named here is
# part of the identity, so that a new setting is never forgotten.
WITHOUT_EFFECT = ("residency", "evaluation", "routing")
FOLLOWING = {"schedule": "schedule_settings", "solver": "sampler", "timesteps": "sampler", "history": "sampler"}


def plan_identity(plan: Plan, device_type: str) -> dict:
    """Everything that decides the bytes of a plan's images, as JSON has it.

    Reads the weights of the denoisers that the plan uses and of the autoencoder, for their checksums.
    """
    is_mixed = any(plan.own_conventions[index] is not None for index in plan.used)
    described = {
        "specs": {"denoisers": {plan.names[index]: denoiser_identity(plan, index) for index in plan.used}},
        "autoencoder": {"autoencoder": _autoencoder(plan.autoencoder)},
        "schedule_settings": {"schedule": plan.schedule_settings},
        "scales": {
            "guidance": {
                "scale": {plan.names[index]: plan.scales[index] for index in plan.used},
                "channels": _channels(plan),
            }
        },
        "channels": {},  # beside the scales
        "match": {"match": plan.match} if plan.match != "snr" and is_mixed else {},
        "router": plan.router.identity() if plan.allocation is not None else {"router": plan.router.identity()},
        "precisions": {"precision": plan.precision},
        **{name: {} for name in (*WITHOUT_EFFECT, *FOLLOWING)},
    }
    identity = {}
    for name in (field.name for field in fields(plan)):
        identity |= described.get(name, {name: getattr(plan, name)})
    identity["on_nonfinite"] = "stop"  # once a setting; runs keep their ids
    # Once through JSON, so that it equals what is read back from `run.json`.
    return json.loads(json.dumps({**identity, "device": device_type}))


def _channels(plan: Plan) -> int | str | list[int | str]:
    """The guided channels: one value where they are the same for all denoisers."""
    shown = [plan.channels[index] or "all" for index in plan.used]
    return shown[0] if len(set(shown)) == 1 else shown


def denoiser_identity(plan: Plan, index: int) -> dict:
    """All that decides the predictions of a denoiser. Reads its weights, for their checksum."""
    spec = plan.specs[index]
    is_own = plan.own_conventions[index] is not None
    convention = {"schedule": dict(spec.schedule or ()), "prediction": spec.prediction} if is_own else {}
    return {
        **convention,
        "sha256": file_sha256(spec.weights),
        "family": spec.family,
        "ema": spec.ema,
        "config": asdict(spec.config),
    }


def _autoencoder(spec: AutoencoderSpec) -> dict:
    return {
        "sha256": file_sha256(spec.weights),
        "kind": spec.kind,
        "downsampling": spec.downsampling,
        "config": spec.config or {} if spec.folder is None else _folder_config(spec.folder),
    }


def _folder_config(folder: Path) -> dict:
    """The configuration of a folder in diffusers' layout, `scaling_factor` included, without who wrote it and where."""
    config = read_settings(folder / "config.json")
    return {key: value for key, value in sorted(config.items()) if not key.startswith("_")}
