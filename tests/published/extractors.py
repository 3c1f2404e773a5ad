"""Weights of feature extractors: `inception`, `dinov2`.

Looked up: toshas/torch-fidelity, `convert_inception_weights.py` (a plain dictionary of `weight`, `bias`,
`running_mean`, `running_var`, without the batch counters that PyTorch's own state dict has) and the release v0.2.0 of
May 2020, which PyTorch 1.5 wrote: the legacy format. facebookresearch/dinov2, `models/vision_transformer.py` and
`hub/backbones.py` (names and shapes of ViT-B/14 for 518 pixels, blocks not chunked), written by PyTorch 2.0.
"""

from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tests.published.torch_files import random_values, save


def inception_state(seed: int = 0) -> dict[str, Tensor]:
    """Random Inception weights by the names of torch-fidelity's network, which builds itself from a file only."""
    empty = BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    real = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):  # the default shrinks every image to the same point
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    finally:
        FeatureExtractorInceptionV3.load_state_dict = real
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def write_inception(path: Path, seed: int = 0, legacy: bool = True) -> Path:
    """Write `weights-inception-2015-12-05-6726825d.pth`, or under another name."""
    return save(inception_state(seed), path, legacy)


def dinov2_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights of ViT-B/14."""
    width, shapes = 768, {"cls_token": (1, 1, 768), "pos_embed": (1, 1 + 37**2, 768), "mask_token": (1, 768)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 14, 14), "patch_embed.proj.bias": (width,)}
    linears = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (4 * width, width),
               "mlp.fc2": (width, 4 * width), "norm1": (width,), "norm2": (width,)}  # fmt: skip
    for block in range(12):
        for name, shape in linears.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        shapes |= {f"blocks.{block}.ls1.gamma": (width,), f"blocks.{block}.ls2.gamma": (width,)}
    return random_values(shapes | {"norm.weight": (width,), "norm.bias": (width,)}, seed)


def write_dinov2(path: Path, seed: int = 0) -> Path:
    """Write `dinov2_vitb14_pretrain.pth`, or under another name."""
    return save(dinov2_state(seed), path)
