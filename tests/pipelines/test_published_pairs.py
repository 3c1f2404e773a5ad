"""Pairs of published architectures, made without memory: their sizes, which of them fit, and the table in the docs."""

import diffusers
import pytest

from tests.conftest import ROOT
from tests.pipelines.published import PAIRS, denoiser, parameters_m, size_table
from tstitch import stitch
from tstitch.errors import UserError

MILLIONS = {
    "SD v1.4": 859.52, "BK-SDM-Base": 579.38, "BK-SDM-Small": 482.35, "BK-SDM-Tiny": 323.38, "SDXL": 2567.46,
}  # fmt: skip
NOTHING = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"))


def pipeline(large: str) -> object:
    """A pipeline with nothing but a denoiser without memory."""
    network = denoiser(large)
    if large.startswith("SD3"):
        names = [f"{part}{end}" for part in ("text_encoder", "tokenizer") for end in ("", "_2", "_3")]
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        return diffusers.StableDiffusion3Pipeline(
            transformer=network, scheduler=scheduler, vae=None, **dict.fromkeys(names)
        )
    kind = diffusers.StableDiffusionPipeline
    if "XL" in large:
        kind = diffusers.StableDiffusionXLPipeline
        both = dict.fromkeys(("text_encoder_2", "tokenizer_2"))
        parts = {key: None for key in NOTHING if key not in ("safety_checker", "feature_extractor")}
        return kind(unet=network, scheduler=diffusers.DDIMScheduler(), add_watermarker=False, **parts, **both)
    return kind(
        unet=network, scheduler=diffusers.PNDMScheduler(steps_offset=1), requires_safety_checker=False, **NOTHING
    )


@pytest.mark.parametrize("name", MILLIONS)
def test_sizes_are_the_published_ones(name: str) -> None:
    assert parameters_m(name) == pytest.approx(MILLIONS[name], abs=0.01)


@pytest.mark.parametrize(("small", "large"), PAIRS)
def test_the_pairs_of_the_docs_fit(small: str, large: str) -> None:
    allow = ["guidance_embedding"] if large == "LCM-SDXL" else []
    stitched = stitch(pipeline(large), denoiser(small), fraction=0.4, allow=allow)
    assert len(stitched.denoisers) == 2


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        ("BK-SDM-Tiny", "SD v2", "text width is 768, the large one's 1024"),
        ("BK-SDM-Tiny", "SDXL", "sample_size is 64, .*addition_embed_type is None"),
        ("SSD-1B", "LCM-SDXL", "time_cond_proj_dim is None, the large one's 256"),
        ("SSD-1B", "SD3.5 large", "it is called in another way than a SD3Transformer2DModel"),
    ],
)
def test_pairs_that_do_not_fit(small: str, large: str, message: str) -> None:
    """The first is what the authors answered a user: SD v2 reads another text encoder."""
    with pytest.raises(UserError, match=message):
        stitch(pipeline(large), denoiser(small), fraction=0.4)


def test_the_table_of_the_docs_is_the_computed_one() -> None:
    assert size_table() in (ROOT / "docs" / "pipelines.md").read_text()
