"""The CLIP score against transformers' own computation, and what is said of two runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from evaluation.metrics.clip_score import clip_scores, describe_alignment, load_clip
from evaluation.metrics.spread import Spread
from tests.pipelines.parts import clip_tokenizer
from tstitch.errors import UserError


def save_clip(folder: Path) -> Path:
    """A tiny random CLIP of 16 tokens and images of 32 pixels."""
    torch.manual_seed(0)
    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, clip_tokenizer()).save_pretrained(folder)
    return folder


def pictures(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, size=(num, 40, 48, 3), dtype=np.uint8)


def test_scores_are_those_of_transformers(tmp_path: Path) -> None:
    """CLIPModel's own logits are the cosines times its temperature."""
    clip = load_clip(save_clip(tmp_path), torch.device("cpu"))
    captions = ["a cat", "a hat and a rather long caption that is cut off", "dogs"]
    images = pictures(3)
    found = clip_scores(clip, images, captions)
    for index, caption in enumerate(captions):
        inputs = clip.processor(
            text=[caption], images=images[index], return_tensors="pt", truncation=True, max_length=16
        )
        with torch.no_grad():
            logit = clip.model(**inputs).logits_per_image / clip.model.logit_scale.exp()
        assert found[index] == pytest.approx(float(logit), abs=1e-6)
    assert found.std() > 1e-3


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Spread(0.004, 0.001), "is better aligned with its prompts"),
        (Spread(-0.004, 0.001), "is worse aligned with its prompts"),
        (Spread(0.001, 0.01), "cannot be told apart with so few images"),
    ],
)
def test_verdicts(difference: Spread, verdict: str) -> None:
    assert describe_alignment(difference).endswith(verdict)


def test_a_model_kept_in_half_precision_computes_in_float32(tmp_path: Path) -> None:
    save_clip(tmp_path)
    CLIPModel.from_pretrained(tmp_path).half().save_pretrained(tmp_path)
    assert load_clip(tmp_path, torch.device("cpu")).model.dtype == torch.float32


def test_a_folder_that_is_not_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model\.safetensors or pytorch_model\.bin"):
        load_clip(tmp_path, torch.device("cpu"))
    (tmp_path / "model.safetensors").write_text("no tensors")
    with pytest.raises(UserError, match="cannot be loaded as a CLIP model"):
        load_clip(tmp_path, torch.device("cpu"))
