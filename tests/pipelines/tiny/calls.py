"""A small call of a pipeline of any class, from the signature of its `__call__`."""

import inspect

import torch

from tests.pipelines import parts
from tests.pipelines.families import image, mask
from tests.pipelines.tiny.pipelines import NUM_FRAMES, SIDE
from tests.pipelines.tiny.settings import CALLS

NUM_STEPS = 4
IMAGES = ("image", "init_image", "control_image", "images", "conditioning_image", "original_image", "example_image")
VIDEOS = ("video", "conditioning_frames", "control_video", "frames", "pose_video", "face_video")
VALUES = {
    "height": SIDE, "width": SIDE, "num_frames": NUM_FRAMES, "num_inference_steps": NUM_STEPS,
    "prompt": parts.ALPHABET[:3],
    "negative_prompt": "", "max_sequence_length": 16, "output_type": "latent", "guidance_scale": 3.0, "strength": 0.8,
    "video_length": 2, "use_resolution_binning": False, "clean_caption": False, "class_labels": [3, 7],
    "prompt_2": "a", "prior_num_inference_steps": 2, "decoder_num_inference_steps": 2, "source_prompt": "a hat",
    "processing_resolution": SIDE, "t0": 1, "t1": 2, "_auto_resize": False, "max_area": SIDE * SIDE,
    "token_indices": [1],
    "max_iter_to_alter": 1, "attn_res": (8, 8), "audio_end_in_s": 0.0001, "gligen_phrases": ["a"],
    "gligen_boxes": [[0.1, 0.1, 0.6, 0.6]], "task_prompt": "a", "content_prompt": "b", "audio_length_in_s": 0.0001,
}  # fmt: skip


def arguments(pipe: object) -> dict:
    """Choose the arguments of a small call from the signature of the pipeline's `__call__`."""
    call, kind = {}, type(pipe).__name__
    accepted = inspect.signature(type(pipe).__call__).parameters
    side = 64 if kind.startswith(("Flux2", "ZImageOmni")) else SIDE
    is_optional = {name: each.default is not each.empty for name, each in accepted.items()}
    frames = 2 if "AnimateDiff" in kind or kind.startswith("PIA") else NUM_FRAMES
    for name in accepted:
        if name in VALUES and not (name == "negative_prompt" and is_optional[name]):
            call[name] = VALUES[name]
        elif name in IMAGES:
            call[name] = image(side=side)
        elif name in ("mask_image", "mask", "control_mask") and "VACE" not in kind:
            call[name] = mask().resize((SIDE, SIDE))
        elif name in VIDEOS:
            call[name] = [image(seed, SIDE) for seed in range(frames)]
        elif name.endswith(("image_embeds", "image_embeddings")) and not is_optional[name]:
            call[name] = torch.randn(1, parts.TEXT_WIDTH, generator=torch.Generator().manual_seed(len(name)))
        elif name == "hint":
            call[name] = torch.zeros(1, 3, 4 * SIDE, 4 * SIDE)
        elif name == "control_mode" and "ControlNetUnion" in kind:
            call[name] = 0
    if "image" in call and "video" in call and is_optional["image"] and is_optional["video"]:
        del call["image"], call["video"]
    if "controlnet" not in pipe.components and "control_image" in call and "Control" not in kind:
        call.pop("control_image")
    if "num_frames" in call:
        call["num_frames"] = frames
    if kind.startswith("AnyFlow"):
        call.pop("video", None)
    if kind.startswith(("CosmosVideo", "Cosmos2Video")):
        call["image"] = image(side=side)
    if kind.startswith("VisualCloze"):
        call["image"] = [[image(0), image(1)], [image(2), None]]
    if kind == "StableDiffusionDiffEditPipeline":
        call["mask_image"] = torch.ones(1, SIDE // 2, SIDE // 2)
    if kind.startswith(("ConsistencyModel", "Marigold", "StableDiffusionLDM3D", "IF")):
        call["output_type"] = "np" if not kind.startswith("IF") else "pt"
    if kind.startswith("SanaSprint"):
        call["num_inference_steps"] = 2
    for part, chosen in CALLS.items():
        call |= {name: each for name, each in chosen.items() if part in kind and name in accepted}
    return call


def sample(pipe: object, call: dict) -> torch.Tensor:
    """Call a pipeline from a seed, and return its first output as a tensor."""
    torch.manual_seed(5)
    accepts = inspect.signature(type(pipe).__call__).parameters
    more = {"generator": torch.Generator().manual_seed(5)} if "generator" in accepts else {}
    with torch.no_grad():
        output = pipe(**call, **prelude(pipe), **more)
    return as_tensor(output[0] if not hasattr(output, "to_tuple") else output.to_tuple()[0])


def prelude(pipe: object) -> dict:
    """Invert an image, in the pipelines that edit one, and return what this adds to the call."""
    kind = type(pipe).__name__
    if kind.startswith("LEditsPP"):
        pipe.invert(image=image(side=SIDE), num_inversion_steps=VALUES["num_inference_steps"], skip=0.25)
        return {"editing_prompt": ["a"], "edit_guidance_scale": 3.0}
    if kind == "StableDiffusionDiffEditPipeline":
        latents = pipe.invert(prompt="a", image=image(side=SIDE), num_inference_steps=NUM_STEPS)[0]
        return {"image_latents": latents}
    return {}


def as_tensor(output: object) -> torch.Tensor:
    """Convert tensors, arrays, images, and lists of these."""
    import numpy as np

    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, list | tuple):
        return torch.stack([as_tensor(each) for each in output])
    return torch.from_numpy(np.array(output))
