"""The original DiT code's own numbers: networks, grids, allocations, guidance, DDIM and DDPM."""

import json
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from models.denoisers import DiTDenoiser
from models.networks.dit import DiT, DiTConfig
from tests.conftest import reference_dir
from tests.networks import GivenNoise, InMemory
from tstitch.allocation import allocation_from_fractions
from tstitch.guidance import GuidedDenoiser
from tstitch.router import AllocationRouter
from tstitch.sample import sample
from tstitch.schedule import linear_schedule, make_timesteps
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import trajectory_steps


@cache
def reference() -> tuple[dict, dict[str, torch.Tensor]]:
    directory = reference_dir()
    return json.loads((directory / "dit.json").read_text()), load_file(directory / "dit.safetensors")


def load_reference_dit(index: int) -> DiTDenoiser:
    description, tensors = reference()
    network = DiT(DiTConfig(**description["models"][index]))
    prefix = f"model.{index}."
    network.load_state_dict({key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)})
    return DiTDenoiser(network.eval())


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.reference
def test_trajectory_equals_the_original(dit_case: str) -> None:
    description, tensors = reference()
    case = description["cases"][dit_case]
    values = {name: tensors.get(f"case.{dit_case}.{name}") for name in ("z", "y", "noise", "x_half", "sample")}
    first = tensors[f"case.{dit_case}.x_after_step_1"]
    respacing = case["timestep_respacing"]
    grid, num_steps = ("ddim_stride", respacing[4:]) if respacing.startswith("ddim") else ("dit_linspace", respacing)
    schedule = linear_schedule(num_train_timesteps=description["num_train_timesteps"])

    timesteps = make_timesteps(grid, int(num_steps), schedule.num_train_timesteps)
    assert timesteps == case["timesteps"]
    allocation = allocation_from_fractions(case["fractions"], timesteps, rule="timestep")
    assert list(allocation) == case["denoiser_per_step"]

    networks = [load_reference_dit(index) for index in case["denoisers"]]
    channels = case["cfg_channels"]
    denoisers = [
        GuidedDenoiser(n, case["cfg_scale"], channels, lambda y, n=n: n.unconditional(y, None, 0)) for n in networks
    ]
    trace = []
    result = sample(
        AllocationRouter(allocation),
        InMemory(denoisers, values["y"]),
        solver_factory(case["solver"], schedule, timesteps, case["eta"]),
        trajectory_steps(schedule, timesteps),
        values["z"],
        GivenNoise(lambda index: values["noise"][index]),
        callback=lambda done: trace.append(done.latents),
    )

    tolerance = 1e-4 if len(timesteps) >= 100 else 1e-5
    assert relative_error(trace[0], first) <= tolerance
    assert relative_error(trace[case["x_half_after_steps"] - 1], values["x_half"]) <= tolerance
    assert relative_error(result, values["sample"]) <= tolerance
