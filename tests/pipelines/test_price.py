"""What the drop-in relies on that diffusers does not document: each line of `tstitch.dropin`'s docstring, by number."""

import inspect
import re
from pathlib import Path

import accelerate
import diffusers
import pytest
import torch
from torch import nn

import tstitch.dropin
from tests.pipelines.families import FAMILIES, run, unet
from tstitch.dropin.compatibility import prepared_by
from tstitch.solvers.timestep_check import INPUTS

SD = FAMILIES["sd"]
SOURCES = Path(diffusers.__file__).parent


def denoisers_and_their_timestep() -> None:
    for name, family in FAMILIES.items():
        network = getattr(family.build(), family.attribute)
        assert set(INPUTS) & set(inspect.signature(type(network).forward).parameters), name


def class_of_a_component(tmp_path: Path) -> None:
    class Face(nn.Module):
        __module__ = "diffusers.models.unets.unet_2d_condition"

        @property
        def __class__(self) -> type:
            return diffusers.UNet2DConditionModel

    assert isinstance(Face(), diffusers.UNet2DConditionModel)


def schedulers_are_called_by_attribute() -> None:
    pipe, calls = SD.build(), []
    plain = pipe.scheduler.step
    pipe.scheduler.step = lambda *args, **kwargs: (calls.append(1), plain(*args, **kwargs))[1]
    run(SD, pipe)
    assert len(calls) == 5
    assert pipe.scheduler.order == 1
    assert len(pipe.scheduler.timesteps) == 5


def pndm_and_begin_index() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(5)
    assert hasattr(scheduler, "prk_timesteps")
    assert scheduler.config.skip_prk_steps
    assert diffusers.EulerDiscreteScheduler().begin_index is None


def number_of_calls() -> None:
    pipe = SD.build()
    run(SD, pipe)
    assert pipe._num_timesteps == 5


def guidance_scale() -> None:
    pipe = SD.build()
    run(SD, pipe, guidance_scale=3.0)
    assert pipe._guidance_scale == pipe.guidance_scale == 3.0
    assert "self.guidance_scale *" in inspect.getsource(type(pipe).__call__)


def hooks() -> None:
    network = unet("small")
    accelerate.cpu_offload_with_hook(network, torch.device("cpu"))
    assert {"_hf_hook", "_old_forward"} <= vars(network).keys()
    network = unet("small")
    network.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
    assert hasattr(network.conv_in, "_diffusers_hook")


def compiled_module() -> None:
    network = nn.Linear(1, 1)
    assert torch.compile(network)._orig_mod is network


def caches() -> None:
    assert hasattr(diffusers.WanTransformer3DModel, "_reset_stateful_cache")


def ip_adapters() -> None:
    source = (SOURCES / "loaders" / "unet.py").read_text()
    assert 'encoder_hid_dim_type = "ip_image_proj"' in source
    assert "encoder_hid_proj" in (SOURCES / "loaders" / "transformer_flux.py").read_text()
    assert "image_proj" in (SOURCES / "loaders" / "transformer_sd3.py").read_text()


def sources_of_pipelines() -> None:
    source = inspect.getsource(diffusers.CogVideoXPipeline)
    assert "self.transformer.config.use_rotary_positional_embeddings" in source
    assert "attention_head_dim" in {key for key, _ in prepared_by(object.__new__(diffusers.CogVideoXPipeline))}


def methods_of_pipelines() -> None:
    assert callable(diffusers.StableDiffusionPipeline.__call__)
    assert callable(diffusers.LEditsPPPipelineStableDiffusion.invert)
    assert callable(diffusers.StableDiffusionDiffEditPipeline.invert)


PRICE = (
    denoisers_and_their_timestep, class_of_a_component, schedulers_are_called_by_attribute, pndm_and_begin_index,
    number_of_calls, guidance_scale, hooks, compiled_module, caches, ip_adapters, sources_of_pipelines,
    methods_of_pipelines,
)  # fmt: skip


@pytest.mark.parametrize("line", range(1, len(PRICE) + 1))
def test_a_line_of_the_price_holds(line: int, tmp_path: Path) -> None:
    check = PRICE[line - 1]
    check(tmp_path) if inspect.signature(check).parameters else check()


def test_each_line_of_the_price_has_a_test() -> None:
    numbers = re.findall(r"^(\d+)\. ", tstitch.dropin.__doc__, re.MULTILINE)
    assert numbers == [str(line) for line in range(1, len(PRICE) + 1)]
