"""LoRA on either denoiser, and of its own for each stage."""

from pathlib import Path

import diffusers
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError

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


def lora_pipe(folder: Path, weights: dict[str, float]) -> object:
    """A pipeline whose UNet has LoRAs `style0` and `style1`, loaded, with these weights."""
    pipe = SD.build()
    for seed in (0, 1):
        pipe.load_lora_weights(lora_file(folder, unet("large"), seed), adapter_name=f"style{seed}")
    pipe.set_adapters(list(weights), adapter_weights=list(weights.values()))
    return pipe


@pytest.mark.parametrize("when", ["before", "after", "between", "on the stitched denoiser"])
def test_stages_keep_the_scales_that_the_user_set(when: str, tmp_path: Path) -> None:
    weights = {"style0": 0.3, "style1": 0.6}
    pipe = lora_pipe(tmp_path, weights)
    network = pipe.unet

    def by_hand(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        if index == 1:
            pipe.set_adapters("style1", adapter_weights=0.6)
        return tensors

    pipe.set_adapters("style0", adapter_weights=0.3)
    expected = run(SD, pipe, callback_on_step_end=by_hand)
    pipe.set_adapters(list(weights), adapter_weights=list(weights.values()) if when == "before" else 1.0)
    stitched = stitch(pipe, network, counts=[2, 3], adapters=["style0", "style1"])
    if when == "between":
        assert not torch.equal(run(SD, pipe), expected)
    if when in ("after", "between"):
        pipe.set_adapters(list(weights), adapter_weights=list(weights.values()))
    if when == "on the stitched denoiser":
        stitched.set_adapters(list(weights), list(weights.values()))
    for _ in range(2):
        assert torch.equal(run(SD, pipe), expected)
    unstitch(pipe)
    pipe.set_adapters("style0", adapter_weights=0.3)
    expected = run(SD, pipe, cross_attention_kwargs={"scale": 0.5})
    stitch(pipe, network, counts=[2, 3], adapters=["style0", "style0"])
    assert torch.equal(run(SD, pipe, cross_attention_kwargs={"scale": 0.5}), expected)


@pytest.mark.parametrize("state", ["two active", "one active", "disabled"])
@pytest.mark.parametrize("broken_off", [False, True])
@pytest.mark.parametrize("stages", [["style1", None], [None, "style1"]])
def test_unstitch_leaves_adapters_as_the_user_had_them(
    state: str, broken_off: bool, stages: list, tmp_path: Path
) -> None:
    pipe = lora_pipe(tmp_path, {"style0": 0.3, "style1": 0.6} if state == "two active" else {"style0": 0.3})
    if state == "disabled":
        pipe.disable_lora()
    plain = run(SD, pipe)
    stitch(pipe, pipe.unet, fraction=0.4, adapters=stages)

    def stop(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        if broken_off and index == 2:
            raise KeyboardInterrupt
        return tensors

    try:
        assert not torch.equal(run(SD, pipe, callback_on_step_end=stop), plain)
    except KeyboardInterrupt:
        assert broken_off
    unstitch(pipe)
    assert torch.equal(run(SD, pipe), plain)


def test_a_choice_made_while_it_was_stitched_outlives_it(tmp_path: Path) -> None:
    pipe = lora_pipe(tmp_path, {"style0": 1.0})
    pipe.set_adapters("style1", adapter_weights=0.5)
    expected = run(SD, pipe)
    pipe.set_adapters("style0")
    stitch(pipe, pipe.unet, fraction=0.4, adapters=["style0", None])
    run(SD, pipe)
    pipe.enable_lora()
    pipe.set_adapters("style1", adapter_weights=0.5)
    unstitch(pipe)
    assert torch.equal(run(SD, pipe), expected)


def test_each_denoiser_gets_its_own_state_back(tmp_path: Path) -> None:
    small, large = (with_lora(lora_file(tmp_path, unet(size), 0), size) for size in ("small", "large"))
    small.disable_adapters()
    large.set_adapters("style", 0.4)
    pipe = SD.build()
    results = []
    for network in (small, large):
        pipe.unet = network
        results.append(run(SD, pipe))
    stitch(pipe, small, fraction=0.4, adapters=["style", None])
    run(SD, pipe)
    unstitch(pipe)
    for network, expected in zip((small, large), results, strict=True):
        pipe.unet = network
        assert torch.equal(run(SD, pipe), expected)


def test_adapters_that_are_not_there_are_named_before_the_first_step(tmp_path: Path) -> None:
    pipe = lora_pipe(tmp_path, {"style0": 1.0})
    stitched = stitch(pipe, unet("small"), fraction=0.4, adapters=[None, "stlye0"])
    with pytest.raises(UserError, match="adapters names stlye0 for denoiser 1, which has style0, style1"):
        run(SD, pipe)
    assert stitched.describe() == "no run yet"
    unstitch(pipe)
    stitch(pipe, unet("small"), fraction=0.4, adapters=["style0", None])
    with pytest.raises(UserError, match=r"style0 for denoiser 0, which has none; .*within addressing\(0\)"):
        run(SD, pipe)
