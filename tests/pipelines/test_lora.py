"""LoRA on either denoiser, and of its own for each stage."""

from pathlib import Path

import diffusers
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch

SD = FAMILIES["sd"]


def lora_file(folder: Path, network: torch.nn.Module, seed: int) -> Path:
    """A LoRA for a UNet whose update is not zero."""
    network.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    path = folder / f"lora{seed}.safetensors"
    layers = get_peft_model_state_dict(network)
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, weight_name=path.name)
    return path


def with_lora(path: Path, size: str) -> torch.nn.Module:
    """A UNet that had the LoRA before anything was stitched."""
    pipe = SD.build()
    pipe.unet = unet(size)
    pipe.load_lora_weights(path, adapter_name="style")
    return pipe.unet


def test_lora_goes_to_the_large_denoiser(tmp_path: Path) -> None:
    path = lora_file(tmp_path, unet("large"), 0)
    pipe = SD.build()
    pipe.unet = with_lora(path, "large")
    stitch(pipe, unet("small"), fraction=0.4)
    expected = run(SD, pipe)
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    pipe.load_lora_weights(path, adapter_name="style")
    assert pipe.get_list_adapters() == {"unet": ["style"]}
    assert not hasattr(stitched.denoisers[0], "peft_config")
    assert torch.equal(run(SD, pipe), expected)
    assert not torch.equal(expected, plain)
    pipe.set_adapters("style", adapter_weights=0.0)
    torch.testing.assert_close(run(SD, pipe), plain)
    pipe.set_adapters("style")
    pipe.fuse_lora()
    torch.testing.assert_close(run(SD, pipe), expected, rtol=1e-3, atol=1e-4)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    torch.testing.assert_close(run(SD, pipe), plain, rtol=1e-3, atol=1e-4)


def test_lora_goes_to_the_small_denoiser_when_it_is_addressed(tmp_path: Path) -> None:
    path = lora_file(tmp_path, unet("small"), 0)
    pipe = SD.build()
    stitch(pipe, with_lora(path, "small"), fraction=0.4)
    expected = run(SD, pipe)
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    with stitched.addressing(0):
        pipe.load_lora_weights(path, adapter_name="style")
    assert not hasattr(stitched.denoisers[1], "peft_config")
    assert torch.equal(run(SD, pipe), expected)


def test_each_stage_has_adapters_of_its_own(tmp_path: Path) -> None:
    """One network in two stages: a LoRA in the first, another in the second, none in the third."""
    pipe = SD.build()
    for seed in (0, 1):
        pipe.load_lora_weights(lora_file(tmp_path, unet("large"), seed), adapter_name=f"style{seed}")
    network = pipe.unet

    def by_hand(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        if index == 1:
            pipe.set_adapters("style1")
        if index == 3:
            pipe.disable_lora()
        return tensors

    pipe.set_adapters("style0")
    expected = run(SD, pipe, callback_on_step_end=by_hand)
    pipe.enable_lora()
    stitch(pipe, network, network, counts=[2, 2, 1], adapters=["style0", ["style1"], None])
    assert torch.equal(run(SD, pipe), expected)
    assert torch.equal(run(SD, pipe), expected)


@pytest.mark.parametrize("name", ["sd3", "wan"])
def test_lora_on_transformers(name: str) -> None:
    family = FAMILIES[name]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    plain = run(family, pipe)
    pipe.transformer.add_adapter(
        LoraConfig(r=2, lora_alpha=64, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    assert not hasattr(stitched.denoisers[0], "peft_config")
    assert not torch.equal(run(family, pipe), plain)
    pipe.transformer.disable_adapters()
    assert torch.equal(run(family, pipe), plain)
