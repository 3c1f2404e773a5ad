"""The original latent-diffusion code's own numbers: U-Net, first stage, grid, rule, DDIM and PLMS."""

import json
from functools import cache

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.denoisers import UNetDenoiser
from models.networks.unet import ClassConditionalUNet, UNetConfig, convert_unet_keys
from models.networks.vq import VQConfig, convert_vq_keys, make_vq_model
from tests.conftest import reference_dir
from tests.networks import GivenNoise, InMemory
from tstitch.allocation import allocation_from_fractions
from tstitch.guidance import GuidedDenoiser
from tstitch.router import AllocationRouter
from tstitch.sample import sample
from tstitch.schedule import make_timesteps, scaled_linear_schedule
from tstitch.solvers.make import solver_factory
from tstitch.solvers.steps import trajectory_steps


@cache
def reference() -> tuple[dict, dict[str, Tensor]]:
    directory = reference_dir()
    return json.loads((directory / "ldm.json").read_text()), load_file(directory / "ldm.safetensors")


def under(prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in reference()[1].items() if key.startswith(prefix)}


def load_network(index: int) -> ClassConditionalUNet:
    shape = dict(reference()[0]["models"][index])
    assert shape.pop("use_spatial_transformer")
    assert shape.pop("transformer_depth") == 1
    embedding = reference()[1][f"model.{index}.cond_stage_model.embedding.weight"]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in shape.items()}
    network = ClassConditionalUNet(UNetConfig(**values, num_classes=len(embedding)))
    state = convert_unet_keys(under(f"model.{index}.model.diffusion_model."), shape["num_res_blocks"])
    network.unet.load_state_dict(state)
    network.embedding.load_state_dict({"weight": embedding})
    return network.eval()


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.reference
def test_unet_forward_equals_the_original() -> None:
    for index in range(len(reference()[0]["models"])):
        values, denoiser = under(f"forward.{index}."), UNetDenoiser(load_network(index))
        with torch.inference_mode():
            eps = denoiser(values["x"], values["t"], denoiser.conditional(values["y"])).eps
        assert relative_error(eps, values["eps"]) <= 1e-5


@pytest.mark.reference
def test_first_stage_equals_the_original() -> None:
    shape = reference()[0]["first_stage"]
    network = shape["ddconfig"]
    config = VQConfig(
        shape["embed_dim"], shape["n_embed"],
        *(network[key] for key in ("z_channels", "resolution", "ch", "ch_mult", "num_res_blocks", "attn_resolutions")),
    )  # fmt: skip
    model, values = make_vq_model(config).eval(), under("first_stage.case.")
    state = {key: value for key, value in under("first_stage.").items() if not key.startswith("case.")}
    model.load_state_dict(convert_vq_keys(state, len(config.ch_mult)))
    with torch.inference_mode():
        plain = model.decode(values["latent"], force_not_quantize=True).sample
        assert relative_error(model.decode(values["latent"]).sample, values["image"]) <= 1e-5
        assert relative_error(plain, values["image_without_quantisation"]) <= 1e-5
        assert relative_error(model.encode(values["encode_in"]).latents, values["encode_out"]) <= 1e-5


@pytest.mark.reference
def test_trajectory_equals_the_original(ldm_case: str) -> None:
    description, tensors = reference()
    case, values = description["cases"][ldm_case], under(f"case.{ldm_case}.")
    schedule = scaled_linear_schedule(0.0015, 0.0195, description["num_train_timesteps"])
    timesteps = make_timesteps("ldm_uniform", case["steps"], schedule.num_train_timesteps)
    fraction = case["fraction"]
    pair = len(case["denoisers"]) == 2
    allocation = (
        allocation_from_fractions([fraction, 1 - fraction], timesteps, "timestep_strict")
        if pair
        else (0,) * len(timesteps)
    )

    calls = []

    class Recorded(UNetDenoiser):
        def __init__(self, index: int, number: int):
            super().__init__(load_network(index))
            self.number = number

        def __call__(self, latents, timestep, condition):
            calls.append([int(timestep[0]), self.number])
            return super().__call__(latents, timestep, condition)

    networks = [Recorded(index, number) for number, index in enumerate(case["denoisers"])]
    denoisers = [
        GuidedDenoiser(
            n,
            case["cfg_scale"],
            None,
            lambda y, n=n: tensors[f"case.{ldm_case}.unconditional.{n.number}"],
            n.conditional,
        )
        for n in networks
    ]
    result = sample(
        AllocationRouter(allocation),
        InMemory(denoisers, values["y"]),
        solver_factory(case["solver"], schedule, timesteps, case["eta"]),
        trajectory_steps(schedule, timesteps),
        values["z"],
        GivenNoise(lambda index: values["noise"][index]),
    )
    assert calls == case["denoiser_calls"]
    assert relative_error(result, values["sample"]) <= (1e-4 if len(timesteps) >= 100 else 1e-5)
