"""The families of pipelines that are stitched: each with a small and a large denoiser and the arguments of a call."""

from collections.abc import Callable
from dataclasses import dataclass, field

import diffusers
import torch
from PIL import Image
from torch import nn

from tests.pipelines import parts

NUM_STEPS = 5
PROMPT = "a cat, a hat"
SD_BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "cross_attention_dim": parts.TEXT_WIDTH,
    "attention_head_dim": 4,
}
SDXL_EXTRA = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "use_linear_projection": True,
    "projection_class_embeddings_input_dim": 8 * 6 + parts.TEXT_WIDTH,
    "transformer_layers_per_block": (1, 2),
}


@dataclass(frozen=True)
class Family:
    """How to build a pipeline, its denoisers by size, and what it is called with."""

    build: Callable[[], object]
    denoiser: Callable[[str], nn.Module]
    call: dict = field(default_factory=dict)
    schedulers: tuple[str, ...] = ("DDIMScheduler",)
    attribute: str = "unet"


def unet(size: str, seed: int | None = None, **settings) -> nn.Module:
    """A UNet of SD 1.x. The small one has half the layers, and no mid block, as BK-SDM-Tiny."""
    torch.manual_seed(seed if seed is not None else {"small": 11, "medium": 12, "large": 13}[size])
    layers = {"small": 1, "medium": 1, "large": 2}[size]
    own = {"mid_block_type": None} if size == "small" else {}
    settings = {"sample_size": 8, "block_out_channels": (8, 16), **SD_BLOCKS, **own, **settings}
    return diffusers.UNet2DConditionModel(layers_per_block=layers, **settings).eval()


def sdxl_unet(size: str, **settings) -> nn.Module:
    """Like SSD-1B, the small one has fewer attention layers and the same blocks."""
    layers = {} if size == "large" else {"transformer_layers_per_block": (1, 1)}
    fixed = {"mid_block_type": "UNetMidBlock2DCrossAttn", "cross_attention_dim": 2 * parts.TEXT_WIDTH}
    torch.manual_seed(21 if size == "small" else 22)
    settings = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        **SD_BLOCKS,
        **SDXL_EXTRA,
        **fixed,
        **layers,
        **settings,
    }
    return diffusers.UNet2DConditionModel(layers_per_block=2, **settings).eval()


def image(seed: int = 0, side: int = 16) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 255, (side, side, 3), dtype=torch.uint8, generator=generator).numpy())


def mask() -> Image.Image:
    return Image.fromarray((torch.arange(16)[:, None].expand(16, 16) > 7).numpy())


def _ddim() -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip


def _sd(kind: type, **more) -> object:
    torch.manual_seed(1)
    return kind(
        vae=parts.autoencoder(), text_encoder=parts.clip_text_encoder(), tokenizer=parts.clip_tokenizer(),
        unet=unet("large"), scheduler=_ddim(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, **more,
    )  # fmt: skip


def _sdxl(kind: type, **more) -> object:
    torch.manual_seed(1)
    return kind(
        vae=parts.autoencoder(), text_encoder=parts.clip_text_encoder(),
        text_encoder_2=parts.clip_text_encoder(with_projection=True), tokenizer=parts.clip_tokenizer(),
        tokenizer_2=parts.clip_tokenizer(), unet=sdxl_unet("large"), scheduler=_ddim(), **more,
    )  # fmt: skip


def _sdxl_controlnet() -> object:
    blocks = {key: value for key, value in SD_BLOCKS.items() if key != "up_block_types"}
    network = parts.controlnet(
        **{**blocks, **SDXL_EXTRA, "cross_attention_dim": 2 * parts.TEXT_WIDTH}, block_out_channels=(8, 16)
    )
    return _sdxl(diffusers.StableDiffusionXLControlNetPipeline, controlnet=network)


def _lcm() -> object:
    pipe = _sd(diffusers.LatentConsistencyModelPipeline)
    pipe.unet = unet("large", time_cond_proj_dim=8)
    pipe.scheduler = diffusers.LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def sd3_transformer(size: str) -> nn.Module:
    torch.manual_seed(31 if size == "small" else 32)
    return diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, num_layers=1 if size == "small" else 2, attention_head_dim=8,
        num_attention_heads=2 if size == "small" else 4, caption_projection_dim=16 if size == "small" else 32,
        joint_attention_dim=2 * parts.TEXT_WIDTH, pooled_projection_dim=2 * parts.TEXT_WIDTH, out_channels=4,
    ).eval()  # fmt: skip


def _sd3() -> object:
    torch.manual_seed(1)
    return diffusers.StableDiffusion3Pipeline(
        transformer=sd3_transformer("large"), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=parts.autoencoder(shift_factor=0.06), text_encoder=parts.clip_text_encoder(with_projection=True),
        tokenizer=parts.clip_tokenizer(), text_encoder_2=parts.clip_text_encoder(with_projection=True),
        tokenizer_2=parts.clip_tokenizer(), text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def pixart_transformer(size: str) -> nn.Module:
    torch.manual_seed(41 if size == "small" else 42)
    heads = 2 if size == "small" else 3
    return diffusers.PixArtTransformer2DModel(
        sample_size=8, patch_size=2, num_layers=2, num_attention_heads=heads, attention_head_dim=8, in_channels=4,
        out_channels=8, cross_attention_dim=8 * heads, caption_channels=parts.TEXT_WIDTH, attention_bias=True,
    ).eval()  # fmt: skip


def _pixart() -> object:
    torch.manual_seed(1)
    return diffusers.PixArtAlphaPipeline(
        tokenizer=parts.t5_tokenizer(), text_encoder=parts.t5_text_encoder(), vae=parts.autoencoder(),
        transformer=pixart_transformer("large"), scheduler=_ddim(),
    )  # fmt: skip


def dit_transformer(size: str) -> nn.Module:
    torch.manual_seed(51 if size == "small" else 52)
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2 if size == "small" else 3, attention_head_dim=8, in_channels=4, out_channels=8,
        num_layers=2, sample_size=8, patch_size=2, num_embeds_ada_norm=1000,
    ).eval()  # fmt: skip


def _dit() -> object:
    return diffusers.DiTPipeline(
        dit_transformer("large"), parts.autoencoder(), diffusers.DDIMScheduler(clip_sample=False)
    )


def wan_transformer(size: str) -> nn.Module:
    torch.manual_seed(61 if size == "small" else 62)
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=1 if size == "small" else 2, attention_head_dim=12, in_channels=16,
        out_channels=16, text_dim=parts.TEXT_WIDTH, freq_dim=64, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    ).eval()  # fmt: skip


def _wan() -> object:
    torch.manual_seed(1)
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.WanPipeline(
        tokenizer=parts.t5_tokenizer(), text_encoder=parts.t5_text_encoder(multilingual=True),
        vae=parts.video_autoencoder(), scheduler=scheduler, transformer=wan_transformer("large"),
    )  # fmt: skip


def flux_transformer(size: str) -> nn.Module:
    torch.manual_seed(71 if size == "small" else 72)
    return diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2 if size == "small" else 3, joint_attention_dim=parts.TEXT_WIDTH,
        pooled_projection_dim=parts.TEXT_WIDTH, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).eval()  # fmt: skip


def _flux() -> object:
    torch.manual_seed(1)
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=parts.autoencoder(shift_factor=0.0), text_encoder=parts.clip_text_encoder(),
        tokenizer=parts.clip_tokenizer(), text_encoder_2=parts.t5_text_encoder(), tokenizer_2=parts.t5_tokenizer(),
        transformer=flux_transformer("large"),
    )  # fmt: skip


EPSILON = (
    "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler",
    "UniPCMultistepScheduler", "LCMScheduler",
)  # fmt: skip
GUIDED = {"prompt": PROMPT, "guidance_scale": 5.0}
FAMILIES = {
    "sd": Family(
        lambda: _sd(diffusers.StableDiffusionPipeline), unet, {**GUIDED, "height": 16, "width": 16}, EPSILON
    ),
    "sd_img2img": Family(
        lambda: _sd(diffusers.StableDiffusionImg2ImgPipeline), unet,
        {**GUIDED, "image": image(), "strength": 0.8, "num_inference_steps": 8}, EPSILON,
    ),
    "sd_inpaint": Family(
        lambda: _sd(diffusers.StableDiffusionInpaintPipeline), unet,
        {**GUIDED, "image": image(), "mask_image": mask(), "height": 16, "width": 16, "strength": 0.8}, EPSILON,
    ),
    "sdxl": Family(
        lambda: _sdxl(diffusers.StableDiffusionXLPipeline), sdxl_unet, {**GUIDED, "height": 16, "width": 16}, EPSILON
    ),
    "sdxl_controlnet": Family(
        _sdxl_controlnet, sdxl_unet,
        {**GUIDED, "image": image(), "height": 16, "width": 16, "controlnet_conditioning_scale": 0.5}, EPSILON,
    ),
    "lcm": Family(
        _lcm, lambda size: unet(size, time_cond_proj_dim=8), {**GUIDED, "height": 16, "width": 16}, ("LCMScheduler",)
    ),
    "sd3": Family(
        _sd3, sd3_transformer, {**GUIDED, "height": 16, "width": 16},
        ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"), "transformer",
    ),
    "pixart": Family(
        _pixart, pixart_transformer,
        {**GUIDED, "height": 16, "width": 16, "use_resolution_binning": False, "clean_caption": False,
         "max_sequence_length": 16},
        tuple(name for name in EPSILON if name != "LCMScheduler"), "transformer",
    ),
    "dit": Family(
        _dit, dit_transformer, {"class_labels": [3, 7], "guidance_scale": 1.5},
        ("DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"), "transformer",
    ),
    "flux": Family(
        _flux, flux_transformer, {**GUIDED, "height": 16, "width": 16, "max_sequence_length": 16},
        ("FlowMatchEulerDiscreteScheduler",), "transformer",
    ),
    "wan": Family(
        _wan, wan_transformer,
        {**GUIDED, "height": 16, "width": 16, "num_frames": 5, "max_sequence_length": 16},
        ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"), "transformer",
    ),
}  # fmt: skip


def run(family: Family, pipe: object, **more) -> torch.Tensor:
    """The images or frames that a call gives, always from the same noise."""
    pipe.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": NUM_STEPS, "output_type": "np", **family.call, **more}
    return torch.as_tensor(pipe(**call, generator=torch.Generator().manual_seed(5))[0])


def set_scheduler(pipe: object, name: str) -> None:
    """Give a pipeline another scheduler, as a user does."""
    if name != type(pipe.scheduler).__name__:
        settings = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
        pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **settings)
