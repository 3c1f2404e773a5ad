"""The disagreement of the denoisers of a pair, where no calibration is given: measured once, and kept."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments.analyses import analyse
from sampling.identity import denoiser_identity
from sampling.plan import make_plan
from settings.choose import ChooseSettings
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.ranks import joined_ranks

CALIBRATION, STEPS = "disagreement.json", 50


def calibrate(settings: ChooseSettings, out: Path, device: torch.device) -> str:
    """Measure the disagreement on images of the choice's first seed; returns the file."""
    large = [0.0] * (len(settings.pair.denoisers) - 1) + [1.0]
    own = settings.changed(
        stitch={"fractions": large},
        num_images=settings.distance_images,
        sampler={"num_steps": STEPS},
        guidance={"scale": settings.pair.guidance_scale},
        precision="float32",
    )
    plan, path = make_plan(own), out / CALIBRATION
    # A plan's own identity is of the denoisers that take a step, here the large one.
    every = {name: denoiser_identity(plan, index) for index, name in enumerate(plan.names)}
    identity = {**plan.identity(device.type), "denoisers": every, "match": plan.match}
    if path.is_file() and read_json(path).get("identity") == identity:
        return str(path)
    print("measuring the disagreement of the denoisers")
    with joined_ranks():
        analysis = analyse("disagreement", plan, own, device)
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"identity": identity, "pair": plan.pair, "data": analysis.data})
    return str(path)
