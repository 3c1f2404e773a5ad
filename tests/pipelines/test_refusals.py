"""What does not fit is refused at `stitch` time, with a line that says why."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from torch import nn

from tests.pipelines import parts
from tests.pipelines.families import FAMILIES, dit_transformer, pixart_transformer, run, sdxl_unet, unet
from tstitch import stitch, unstitch
from tstitch.errors import UserError


def wider_sd3() -> nn.Module:
    settings = {key: value for key, value in FAMILIES["sd3"].denoiser("small").config.items() if key[0] != "_"}
    return diffusers.SD3Transformer2DModel(**{**settings, "pooled_projection_dim": 48})


MISFITS = {
    "latent channels": ("sd", lambda: unet("small", in_channels=16, out_channels=16), "in_channels is 16, .* 4"),
    "learned variance": ("sd", lambda: unet("small", out_channels=8), "out_channels is 8, the large one's 4"),
    "sample size": ("sd", lambda: unet("small", sample_size=12), r"sample_size is 12, .*allow=\['sample_size'\]"),
    "text width": ("sd", lambda: unet("small", cross_attention_dim=48), "text width is 48, the large one's 32"),
    "pooled text": ("sdxl", lambda: unet("small", cross_attention_dim=64), "addition_embed_type is None, .* text_time"),
    "pooled width": ("sd3", wider_sd3, "pooled_projection_dim is 48, the large one's 64"),
    "guidance embedding": (
        "lcm", lambda: unet("small"), r"time_cond_proj_dim is None, the large one's 8: only one .*allow=",
    ),
    "guidance embedding of the small": (
        "sd", lambda: unet("small", time_cond_proj_dim=8), "time_cond_proj_dim is 8, the large one's None",
    ),
    "kind": ("sd", lambda: dit_transformer("small"), "it is called in another way than a UNet2DConditionModel"),
    "kind of transformer": ("dit", lambda: pixart_transformer("small"), "another way than a DiTTransformer2DModel"),
    "a plain module": ("sd", lambda: nn.Linear(1, 1), "the small Linear does not fit"),
    "dtype": ("sd", lambda: unet("small").half(), "its dtype is torch.float16, the large one's torch.float32"),
    "controlnet": (
        "sdxl_controlnet", lambda: sdxl_unet("small", block_out_channels=(8, 12)), "a ControlNet fits only one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_is_refused_and_the_pipeline_left_alone(misfit: str) -> None:
    name, small, message = MISFITS[misfit]
    family = FAMILIES[name]
    pipe = family.build()
    large = getattr(pipe, family.attribute)
    with pytest.raises(UserError, match=message) as error:
        stitch(pipe, small(), fraction=0.4)
    assert "\n" not in str(error.value)
    assert getattr(pipe, family.attribute) is large
    assert "step" not in vars(pipe.scheduler)


def v_prediction_pipe() -> object:
    pipe = FAMILIES["sd"].build()
    pipe.unet = unet("small")
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    return pipe


def test_a_pipeline_in_place_of_a_denoiser_tells_its_prediction_type() -> None:
    pipe, small = FAMILIES["sd"].build(), v_prediction_pipe()
    with pytest.raises(UserError, match="it predicts v_prediction, the large one epsilon"):
        stitch(pipe, small, fraction=0.4)
    small.scheduler = pipe.scheduler
    stitched = stitch(pipe, small, fraction=0.4)
    assert stitched.denoisers[0] is small.unet


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_the_scheduler_beside_the_weights_tells_the_prediction_type(place: str, tmp_path: Path, monkeypatch) -> None:
    small = v_prediction_pipe()
    if place == "folder":
        folder = tmp_path / "small"
        small.unet.save_pretrained(folder / "unet")
        small.scheduler.save_pretrained(folder / "scheduler")
        network = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    else:
        folder = tmp_path / "models--some--small" / "snapshots" / "abc"
        small.scheduler.save_pretrained(folder / "scheduler")
        (tmp_path / "models--some--small" / "refs").mkdir()
        (tmp_path / "models--some--small" / "refs" / "main").write_text("abc")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        network = unet("small")
        network.register_to_config(_name_or_path="some/small")
    with pytest.raises(UserError, match="it predicts v_prediction, the large one epsilon"):
        stitch(FAMILIES["sd"].build(), network, fraction=0.4)
    stitch(FAMILIES["sd"].build(), network, fraction=0.4, allow=["prediction_type"])
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
    stitch(FAMILIES["sd"].build(), network, fraction=0.4)


def test_a_guidance_embedding_that_only_the_large_one_has_can_be_allowed() -> None:
    """LCM-SDXL has one and LCM-SSD-1B has not: the large one gets it, the small one does not."""
    family = FAMILIES["lcm"]
    pipe, small = family.build(), unet("small")
    plain = run(family, pipe)
    stitched = stitch(pipe, small, fraction=0, allow=["guidance_embedding"])
    assert torch.equal(run(family, pipe), plain)
    seen = []
    for denoiser in stitched.denoisers:
        denoiser.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs.get("timestep_cond") is not None), with_kwargs=True
        )
    stitched.allocate(fraction=0.4)
    run(family, pipe)
    assert seen == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residency": "disk"}, "residency both or swap, got 1 and 'disk'"),
        (
            {"allow": ["text_width"]},
            "allow may hold sample_size, guidance_embedding, prediction_type, schedule, got text_width",
        ),
        ({"guidance_scale": [2.0]}, "guidance_scale needs 2 values"),
        ({"guidance_scale": 7.5}, "guidance_scale needs 2 values, one for each denoiser, got 7.5"),
        ({"guidance_scale": ["7.5", 5.0]}, "per-stage guidance scales must be above 1"),
        ({"guidance_scale": [1.0, 5.0]}, "per-stage guidance scales must be above 1"),
        ({"adapters": ["style"]}, "adapters needs 2 values"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        stitch(FAMILIES["sd"].build(), unet("small"), fraction=0.4, **settings)


def test_pipelines_that_cannot_be_stitched() -> None:
    pipe = FAMILIES["sd"].build()
    with pytest.raises(UserError, match="stitch needs a small denoiser"):
        stitch(pipe, fraction=0.4)
    with pytest.raises(UserError, match="one unet or transformer, got AutoencoderKL"):
        stitch(parts.autoencoder(), unet("small"), fraction=0.4)
    with pytest.raises(UserError, match="is not stitched"):
        unstitch(pipe)
    stitch(pipe, unet("small"), fraction=0.4)
    with pytest.raises(UserError, match=r"change pipe.unet.allocate"):
        stitch(pipe, unet("small"), fraction=0.4)
    wan = FAMILIES["wan"].build()
    wan.transformer_2 = FAMILIES["wan"].denoiser("small")
    with pytest.raises(UserError, match="one unet or transformer, got WanPipeline"):
        stitch(wan, FAMILIES["wan"].denoiser("small"), fraction=0.4)


@pytest.mark.parametrize("name", ["pixart", "dit", "wan", "sdxl_controlnet"])
def test_guidance_that_is_read_once_cannot_differ_between_stages(name: str) -> None:
    family = FAMILIES[name]
    with pytest.raises(UserError, match="reads its guidance scale once per call"):
        stitch(family.build(), family.denoiser("small"), fraction=0.4, guidance_scale=[2.0, 5.0])


def test_guidance_as_an_input_cannot_differ_between_stages() -> None:
    family = FAMILIES["lcm"]
    with pytest.raises(UserError, match="takes the guidance scale as an input"):
        stitch(family.build(), family.denoiser("small"), fraction=0.4, guidance_scale=[2.0, 5.0])
