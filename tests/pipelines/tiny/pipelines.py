"""A pipeline of any class, from the annotations of its constructor."""

import inspect
import re
import sys
from types import SimpleNamespace

import diffusers
from diffusers.configuration_utils import ConfigMixin
from torch import nn

from tests.pipelines import parts
from tests.pipelines.tiny.encoders import (
    AnyChecker,
    AnyEncoder,
    AnyProcessor,
    AnyTokenizer,
    ExampleEncoder,
    PairEncoder,
)
from tests.pipelines.tiny.models import build
from tests.pipelines.tiny.settings import DENOISERS_OF, PARTS

DENOISERS = ("unet", "transformer")
PACKED = ("Flux", "Bria", "Chroma", "QwenImage", "LongCat", "Ovis", "VisualCloze")  # four latents make a channel
SIDE, NUM_FRAMES = 32, 9
KANDINSKY = {
    "addition_embed_type": "image", "encoder_hid_dim_type": "image_proj", "encoder_hid_dim": parts.TEXT_WIDTH,
    "out_channels": 8,
}  # fmt: skip
AUDIO = {
    "class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": parts.TEXT_WIDTH,
    "class_embeddings_concat": True, "cross_attention_dim": (8, 16),
}  # fmt: skip
ADAPTER = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
PER_PIPELINE: dict[str, dict] = {  # settings of the denoiser, by how the name of the pipeline begins or what is in it
    "InstructPix2Pix": {"in_channels": 8}, "Depth2Img": {"in_channels": 5}, "PIA": {"in_channels": 9},
    "StableDiffusionUpscale": {"in_channels": 7, "num_class_embeds": 1000}, 
    "LatentUpscale": {"in_channels": 8, "out_channels": 5, "time_cond_proj_dim": 128 + parts.TEXT_WIDTH},
    "CogVideoXImageToVideo": {"in_channels": 32}, "CogVideoXFunControl": {"in_channels": 32, "out_channels": 16},
    "ConsisID": {"in_channels": 32}, "WanImageToVideo": {"in_channels": 36},
    "SkyReelsV2ImageToVideo": {"in_channels": 36, "image_dim": parts.TEXT_WIDTH},
    "ChromaInpaint": {"guidance_embeds": False}, "HunyuanVideoImageToVideo": {"image_condition_type": "token_replace"},
    "CosmosVideoToWorld": {"in_channels": 17}, "Cosmos2VideoToWorld": {"in_channels": 17},
    "HunyuanSkyreelsImageToVideo": {"in_channels": 32},
    "Framepack": {"has_clean_x_embedder": True, "has_image_proj": True, "image_proj_dim": parts.TEXT_WIDTH},
    "WanAnimate": {"image_dim": parts.TEXT_WIDTH, "inject_face_latents_blocks": 1, "motion_encoder_size": 16,
                   "motion_encoder_channel_sizes": {"4": 8, "8": 8, "16": 8}, "motion_encoder_dim": parts.TEXT_WIDTH},
    "EasyAnimateInpaint": {"in_channels": 33},
    "HunyuanVideo15": {"image_embed_dim": parts.TEXT_WIDTH, "target_size": SIDE},
    "HunyuanImageRefiner": {"in_channels": 128, "out_channels": 64, "patch_size": (1, 1, 1),
                            "rope_axes_dim": (4, 6, 6)},
    "Kandinsky5I2V": {"in_visual_dim": 16, "out_visual_dim": 16},
    "MotifVideoImage": {"image_embed_dim": parts.TEXT_WIDTH},
    "AudioLDMPipeline": AUDIO, "MusicLDM": AUDIO,
    "Kandinsky6TI2VA": {"visual_token_type_num_embeddings": 2},
    "Cosmos2_5": {"in_channels": 17, "use_crossattn_projection": True,
                  "crossattn_proj_in_channels": 48 * parts.TEXT_WIDTH,
                  "encoder_hidden_states_channels": parts.TEXT_WIDTH},
    "LEditsPPPipelineStableDiffusion": {
        "block_out_channels": (8, 16, 16), "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D")},
    "FluxControlP": {"in_channels": 128, "out_channels": 64}, "FluxControlI": {"in_channels": 128, "out_channels": 64},
    "FluxFill": {"in_channels": 144, "out_channels": 64}, "VisualCloze": {"in_channels": 144, "out_channels": 64},
    "Marigold": {"in_channels": 8}, "PaintByExample": {"in_channels": 9},
    "LatentConsistency": {"time_cond_proj_dim": 8},
    "KandinskyV22": KANDINSKY, "KandinskyV22Inpaint": {"in_channels": 9},
    "KandinskyV22Controlnet": {"addition_embed_type": "image_hint", "in_channels": 8},
    "IFPipeline": {"in_channels": 3, "out_channels": 6}, "IFImg2ImgPipeline": {"in_channels": 3, "out_channels": 6},
    "IFInpaintingPipeline": {"in_channels": 3, "out_channels": 6},
    "SuperResolutionPipeline": {"in_channels": 6, "out_channels": 6, "class_embed_type": "timestep"},
    "LDMSuperResolution": {"in_channels": 6, "out_channels": 3, "class_embed_type": None},
    "LDMP": {"in_channels": 4, "out_channels": 4},
    "GLIGEN": {"attention_type": "gated"}, "GLIGENTextImage": {"attention_type": "gated-text-image"},
    "ControlNetXS": {"layers_per_block": 2}, "ChronoEdit": {"in_channels": 36, "image_dim": parts.TEXT_WIDTH},
    "SanaSprint": {"guidance_embeds": True}, "AdapterPipeline": ADAPTER,
    "LucyEdit": {"in_channels": 32}, "CogView4Control": {"in_channels": 32, "out_channels": 16},
    "StableUnCLIP": {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * parts.TEXT_WIDTH},
}  # fmt: skip
PIPELINE_SCHEDULERS = {
    "Paradigms": "DDIMParallelScheduler",
    "LEditsPP": "DPMSolverMultistepScheduler",
    "SanaSprint": "SCMScheduler",
    "MotifVideo": "FlowMatchEulerDiscreteScheduler",
}
SCHEDULERS = {
    "HeliosScheduler": {"stages": 1}, "AmusedScheduler": {"mask_token_id": 15},
    "VQDiffusionScheduler": {"num_vec_classes": 17},
}  # fmt: skip
SDXL = {
    "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "use_linear_projection": True,
    "projection_class_embeddings_input_dim": 8 * 6 + parts.TEXT_WIDTH, "cross_attention_dim": 2 * parts.TEXT_WIDTH,
}  # fmt: skip


def classes() -> dict[str, type]:
    """List the pipeline classes of diffusers by name, without its abstract ones and those of other frameworks."""
    found = {}
    for name in sorted(dir(diffusers)):
        if "Pipeline" not in name or name.startswith(("Flax", "Onnx", "AutoPipeline")):
            continue
        kind = getattr(diffusers, name, None)
        if (
            inspect.isclass(kind)
            and issubclass(kind, diffusers.DiffusionPipeline)
            and kind.__init__ is not object.__init__
        ):
            found[name] = kind
    return {name: kind for name, kind in found.items() if name not in ("DiffusionPipeline", "StableDiffusionMixin")}


def annotations(kind: type) -> dict[str, list[str]]:
    """Return the class names in the annotation of each argument of a pipeline's constructor."""
    arguments = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        text = parameter.annotation
        text = f"{text.__module__}.{text.__name__}" if inspect.isclass(text) else str(text)
        arguments[name] = re.findall(r"([A-Z]\w+)(?![\w.])", text)
    return arguments


def denoiser(kind: type, size: str = "large") -> object:
    """Make the denoiser of a pipeline class, or None where it has none that is called `unet` or `transformer`."""
    names = annotations(kind)
    attribute = next((each for each in DENOISERS if each in names), None)
    model = next((each for each in names.get(attribute, ()) if hasattr(diffusers, each)), None)
    model = DENOISERS_OF.get(kind.__name__, model)
    if model is None:
        return None
    own: dict = {}
    if "text_encoder_2" in names and model == "UNet2DConditionModel":
        own |= SDXL
    if re.match(r"Kandinsky(?!V22|\d)", kind.__name__):
        own |= {**KANDINSKY, "addition_embed_type": "text_image", "encoder_hid_dim_type": "text_image_proj"}
        own |= {"in_channels": 9} if "Inpaint" in kind.__name__ else {}
    for part, settings in PER_PIPELINE.items():
        own |= (
            settings
            if part in kind.__name__ and not (part.startswith("IF") and not kind.__name__.startswith("IF"))
            else {}
        )
    return build(getattr(diffusers, model), size, **own)


def make(kind: type, size: str = "large") -> object:
    """Make a pipeline of a class, with its denoiser of a size.

    Raises:
        Exception: of any kind, where the class needs what `component` does not know.
    """
    large, names = denoiser(kind, size), annotations(kind)
    given = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        has_default = parameter.default is not parameter.empty
        if name in DENOISERS and large is not None:
            given[name] = large
        elif "CosmosSafetyChecker" in names[name]:
            given[name] = AnyChecker()
        elif name == "pag_applied_layers" and "transformer" in names:
            given[name] = "blocks.0"
        elif name == "text_encoder_select_layers":
            given[name] = tuple(range(12))
        elif name == "transformer_2" or name in ("safety_checker", "feature_extractor", "watermarker"):
            given[name] = None
        elif has_default and (parameter.default is not None or not name.startswith(("tokenizer", "text_encoder"))):
            given[name] = parameter.default
        else:
            given[name] = component(name, names[name], large, kind)
    if "requires_safety_checker" in given:
        given["requires_safety_checker"] = False
    if given.get("feature_extractor", 0) is None and "feature_extractor" not in kind._optional_components:
        given["feature_extractor"] = AnyProcessor()
    for base in kind.__mro__:  # some clean prompts with this package, which is not needed here
        vars(sys.modules[base.__module__]).setdefault("ftfy", SimpleNamespace(fix_text=str))
    pipe = kind(**given)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def component(name: str, kinds: list[str], large: object, pipeline: type) -> object:
    """Make one component: a scheduler, a model of diffusers, or a text encoder, tokenizer or processor of any kind."""
    if "scheduler" in name:
        known = [each for each in kinds if hasattr(diffusers, each) and each.endswith("Scheduler")]
        own = next((each for part, each in PIPELINE_SCHEDULERS.items() if part in pipeline.__name__), None)
        if own is not None:
            return getattr(diffusers, own)(**({"algorithm_type": "sde-dpmsolver++"} if "DPM" in own else {}))
        chosen = next((each for part, each in PARTS.items() if part in pipeline.__name__), {})
        return (
            getattr(diffusers, known[0])(**{**SCHEDULERS.get(known[0], {}), **chosen.get(known[0], {})})
            if known
            else diffusers.DDIMScheduler(clip_sample=False)
        )
    if "CLIPTokenizer" in kinds:
        return parts.clip_tokenizer()
    if "CLIPTextModel" in kinds or "CLIPTextModelWithProjection" in kinds:
        return parts.clip_text_encoder(with_projection="CLIPTextModel" not in kinds, length=77)
    if "T5Tokenizer" in kinds:
        return parts.t5_tokenizer()
    if "T5EncoderModel" in kinds:
        return parts.t5_text_encoder()
    if "MultilingualCLIP" in kinds:
        return PairEncoder()
    if "PaintByExampleImageEncoder" in kinds:
        return ExampleEncoder()
    if "SpeechT5HifiGan" in kinds:
        return parts.vocoder()
    if name == "guider":
        return diffusers.ClassifierFreeGuidance()
    if "ControlNetXSAdapter" in kinds:
        return diffusers.ControlNetXSAdapter.from_unet(large, 1.0, conditioning_embedding_out_channels=(16, 32))
    module = vars(sys.modules[pipeline.__module__])
    known = [getattr(diffusers, each, module.get(each)) for each in kinds]
    models = [each for each in known if inspect.isclass(each) and issubclass(each, ConfigMixin)]
    if models:
        model = models[-1] if pipeline.__name__.startswith(("SanaVideo", "SanaImageToVideo")) else models[0]
        if not issubclass(model, nn.Module):
            return model()
        own = next((each for part, each in PARTS.items() if part in pipeline.__name__), {})
        return build(model, **{**_settings(model, large, pipeline), **own.get(model.__name__, {})})
    if "token" in name:
        return AnyTokenizer()
    if "processor" in name or "extractor" in name:
        return AnyTokenizer() if "VL" in "".join(kinds) else AnyProcessor()
    return AnyEncoder()


def _settings(model: type, large: object, pipeline: type) -> dict:
    """Return what must agree with the denoiser: latent channels of an autoencoder, blocks of a ControlNet."""
    config = getattr(large, "config", {})
    if model is diffusers.AutoencoderKL:
        channels = config.get("out_channels") or config.get("in_channels") or 4
        is_packed = pipeline.__name__.startswith(PACKED)
        learned = config.get("in_channels") and channels == 2 * config["in_channels"]
        blocks = (
            4 if pipeline.__name__.startswith(("HunyuanDiT", "OmniGen")) else 2
        )  # it divides sides by 8, whatever the autoencoder
        return {
            "latent_channels": channels // 4 if is_packed else config["in_channels"] if learned else channels,
            "block_out_channels": (8,) * blocks, "down_block_types": ("DownEncoderBlock2D",) * blocks,
            "up_block_types": ("UpDecoderBlock2D",) * blocks, "shift_factor": 0.0, "force_upcast": False,
        }  # fmt: skip
    if model in (diffusers.ControlNetModel, diffusers.ControlNetUnionModel) and config.get("addition_embed_type"):
        return {key: config[key] for key in SDXL}
    return {}
