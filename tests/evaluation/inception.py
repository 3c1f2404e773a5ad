"""Inception weights in the published layout, with random values."""

from pathlib import Path

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


def make_inception(path: Path) -> None:
    """The extractor only builds itself from a file, so it is built here without reading one."""
    torch.save({}, path)
    real = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = real
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):  # the default shrinks every image to the same point
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
