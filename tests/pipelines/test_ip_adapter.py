"""IP-Adapters in one denoiser and in all, loaded before and after `stitch`."""

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import nn

from tests.pipelines.families import FAMILIES, run, unet
from tests.pipelines.parts import TEXT_WIDTH
from tstitch import stitch, unstitch
from tstitch.errors import UserError

SD = FAMILIES["sd"]
IMAGE_WIDTH = 24
EMBEDS = {"ip_adapter_image_embeds": [torch.randn(2, 1, IMAGE_WIDTH, generator=torch.Generator().manual_seed(0))]}


def weights(network: nn.Module, seed: int) -> dict:
    """An IP-Adapter in the layout of its authors: keys by the index of the attention processor."""
    torch.manual_seed(seed)
    layers, widths = {}, dict(enumerate(network.config.block_out_channels))
    index = 1
    for name in network.attn_processors:
        if name.endswith("attn1.processor"):
            continue
        block = int(name.split(".")[1]) if not name.startswith("mid") else -1
        width = list(reversed(widths.values()))[block] if name.startswith("up") else list(widths.values())[block]
        layers |= {f"{index}.to_{kind}_ip.weight": torch.randn(width, TEXT_WIDTH) for kind in "kv"}
        index += 2
    projection = {
        "proj.weight": torch.randn(4 * TEXT_WIDTH, IMAGE_WIDTH), "proj.bias": torch.randn(4 * TEXT_WIDTH),
        "norm.weight": torch.ones(TEXT_WIDTH), "norm.bias": torch.zeros(TEXT_WIDTH),
    }  # fmt: skip
    return {"image_proj": projection, "ip_adapter": layers}


def load(pipe: object, seed: int = 0, index: int = -1) -> None:
    """`pipe.load_ip_adapter` with weights that fit the UNet, or denoiser `index` of a stitched one."""
    network = pipe.unet.denoisers[index] if hasattr(pipe.unet, "denoisers") else pipe.unet
    pipe.load_ip_adapter([weights(network, seed)], subfolder="", weight_name="", image_encoder_folder=None)


def with_ip_adapter(size: str) -> nn.Module:
    pipe = SD.build()
    pipe.unet = unet(size)
    load(pipe)
    return pipe.unet


def test_one_in_the_large_denoiser_only_is_refused_before_the_first_step() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    load(pipe)
    with pytest.raises(
        UserError, match=r"denoiser 0 has no IP-Adapter and would ignore it; .*addressing\(0\)"
    ) as error:
        run(SD, pipe, **EMBEDS)
    assert "\n" not in str(error.value)
    assert stitched.describe() == "no run yet"
    stitched.allocate(fraction=0)
    assert not torch.equal(run(SD, pipe, **EMBEDS), plain)
    stitched.allocate(fraction=0.4)
    pipe.unload_ip_adapter()
    assert torch.equal(run(SD, pipe), plain)


def test_one_in_each_denoiser_is_used_in_its_steps() -> None:
    """Loaded after `stitch` it is what it is when loaded before."""
    pipe = SD.build()
    load(pipe)
    stitch(pipe, with_ip_adapter("small"), fraction=0.4)
    expected = run(SD, pipe, **EMBEDS)
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    plain = run(SD, pipe)
    load(pipe)
    with stitched.addressing(0):
        load(pipe, index=0)
    assert torch.equal(run(SD, pipe, **EMBEDS), expected)
    assert not torch.equal(expected, plain)
    pipe.set_ip_adapter_scale(0.0)
    with pytest.warns(UserWarning, match=r"other IP-Adapter scales, \[\[1.0\], \[0.0\]\]"):
        run(SD, pipe, **EMBEDS)
    with stitched.addressing(0):
        pipe.set_ip_adapter_scale(0.0)
    torch.testing.assert_close(run(SD, pipe, **EMBEDS), plain)
    for index in (0, 1):
        with stitched.addressing(index):
            pipe.unload_ip_adapter()
    assert torch.equal(run(SD, pipe), plain)


def test_unload_reaches_what_load_set() -> None:
    """Attributes of the large denoiser are set on it, so a second load and `unstitch` find them."""
    pipe = SD.build()
    large = pipe.unet
    plain = run(SD, pipe)
    stitched = stitch(pipe, unet("small"), fraction=0)
    for _ in range(2):
        load(pipe)
        assert large.encoder_hid_proj is not None
        prompted = run(SD, pipe, **EMBEDS)
        assert not torch.equal(prompted, plain)
        pipe.unload_ip_adapter()
        assert large.encoder_hid_proj is None
        assert "encoder_hid_proj" not in vars(stitched)
        assert not any(isinstance(each, IPAdapterAttnProcessor2_0) for each in large.attn_processors.values())
    assert torch.equal(run(SD, unstitch(pipe)), plain)
    assert torch.equal(run(SD, pipe), plain)


def test_attributes_go_where_they_are_read() -> None:
    pipe = SD.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    stitched.conv_act = nn.Identity()
    assert isinstance(stitched.denoisers[1].conv_act, nn.Identity)
    assert isinstance(stitched.denoisers[0].conv_act, nn.SiLU)
    with stitched.addressing(0):
        stitched.conv_act = nn.ReLU()
    assert isinstance(stitched.denoisers[0].conv_act, nn.ReLU)
    stitched.mark = 1
    assert vars(stitched)["mark"] == 1
    assert not hasattr(stitched.denoisers[1], "mark")


@pytest.mark.parametrize("name", ["flux", "sd3"])
def test_transformers_are_asked_too(name: str) -> None:
    family = FAMILIES[name]
    pipe = family.build()
    stitched = stitch(pipe, family.denoiser("small"), fraction=0.4)
    attribute = "encoder_hid_proj" if name == "flux" else "image_proj"
    setattr(stitched.denoisers[1], attribute, nn.Identity())
    embeds = {"joint_attention_kwargs": {"ip_adapter_image_embeds": torch.zeros(1, 1, 4)}}
    with pytest.raises(UserError, match="denoiser 0 has no IP-Adapter"):
        run(family, pipe, **embeds)


def test_an_image_to_image_pipeline_of_its_components_is_asked_too() -> None:
    pipe = SD.build()
    stitch(pipe, unet("small"), fraction=0.5)
    load(pipe)
    other = diffusers.StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    with pytest.raises(UserError, match="denoiser 0 has no IP-Adapter"):
        run(FAMILIES["sd_img2img"], other, **EMBEDS)
