"""Prompt alignment: the cosine between CLIP's embeddings of an image and of its prompt (Hessel et al. 2021).

It is the cosine itself, as in the paper's tables 2, 10 and 11: neither times 100 or 2.5 nor cut off at 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from evaluation.metrics.spread import Spread
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256

CLIP_SCORE = "clip_score"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Clip:
    """A CLIP model in transformers' layout with its own preprocessing."""

    name: str
    sha256: str
    model: torch.nn.Module
    processor: object
    device: torch.device


def clip_weights(folder: Path) -> Path:
    """The file of weights in the folder of a CLIP model.

    Raises:
        UserError: the folder is not there, or not that of a CLIP model.
    """
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(
            f"clip={folder} holds no {' or '.join(WEIGHTS)}; weights are local files only: put the folder of a CLIP "
            "model in transformers' layout there, such as laion/CLIP-ViT-g-14-laion2B-s12B-b42K"
        )
    return weights


def load_clip(folder: Path, device: torch.device) -> Clip:
    """Load a CLIP model from its folder.

    Raises:
        UserError: the folder is not there, or not that of a CLIP model.
    """
    weights = clip_weights(folder)
    try:
        from transformers import CLIPModel, CLIPProcessor, logging
    except ImportError as error:
        raise UserError("the CLIP score needs the extra 'pipelines': pip install '.[research,pipelines]'") from error
    logging.disable_progress_bar()
    # As the extractors: float32 also where the weights are kept in half precision, and no TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).to(device).eval()
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"clip={folder} cannot be loaded as a CLIP model: {error}") from error
    return Clip(folder.name, file_sha256(weights), model, processor, device)


@torch.inference_mode()
def clip_scores(clip: Clip, images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """The cosine of each image with its caption.

    Args:
        images: (N, H, W, 3) bytes.
        captions: N texts; what is longer than the model reads is cut off.

    Returns:
        (N,) float64, in [-1, 1].
    """
    inputs = clip.processor(
        text=list(captions), images=list(images), return_tensors="pt", padding=True, truncation=True,
        max_length=clip.model.config.text_config.max_position_embeddings,
    ).to(clip.device)  # fmt: skip
    outputs = clip.model(**inputs)
    embeddings = [each / each.norm(dim=-1, keepdim=True) for each in (outputs.image_embeds, outputs.text_embeds)]
    return (embeddings[0] * embeddings[1]).sum(dim=-1).double().cpu().numpy()


def describe_alignment(difference: Spread) -> str:
    """Describe a paired difference of CLIP scores in a sentence."""
    low, high = difference.interval
    verdict = "cannot be told apart with so few images"
    if low > 0:
        verdict = "is better aligned with its prompts"
    elif high < 0:
        verdict = "is worse aligned with its prompts"
    return f"difference {difference.value:+.4f}, 95% interval {low:+.4f} to {high:+.4f}: the run {verdict}"
