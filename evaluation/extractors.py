"""Feature extractors: torch-fidelity's by name, and the digits classifier registered beside them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from evaluation.digits_classifier import DigitsClassifier
from tstitch.digest import file_sha256
from tstitch.errors import UserError

DIGITS, INCEPTION = "digits", "inception-v3-compat"
PUBLISHED = {INCEPTION: "weights-inception-2015-12-05-6726825d.pth in release v0.2.0 of torch-fidelity"}


class DigitsExtractor(FeatureExtractorBase):
    """The digits classifier as a torch-fidelity extractor: `features` (N, 64) and `logits` (N, 10).

    Takes bytes (N, 3, 32, 32); the three channels are averaged to grey.
    """

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **_: object):
        super().__init__(name, features_list)
        self.classifier = DigitsClassifier()
        load_model(self.classifier, feature_extractor_weights_path)
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits", "fid": "features", "kid": "features", "prc": "features"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        grey = images.float().mean(dim=1, keepdim=True) / 127.5 - 1
        outputs = dict(zip(self.get_provided_features_list(), self.classifier(grey), strict=True))
        return tuple(outputs[name] for name in self.features_list)


@dataclass(frozen=True)
class Extractor:
    """A loaded extractor: its name, the checksum of its weights, and what computes."""

    name: str
    weights_sha256: str
    network: FeatureExtractorBase
    device: torch.device

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, D) and logits (N, classes), float32, of bytes (N, H, W, 3)."""
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(self.device)
        features, logits = self.network(batch)
        return features.cpu().numpy(), logits.cpu().numpy()


def load_extractor(name: str, weights: Path, device: torch.device) -> Extractor:
    """Load an extractor's weights from a file; nothing is downloaded and nothing in the file is executed.

    Raises:
        UserError: an unknown name, or a file that is missing, damaged or of another network.
    """
    if DIGITS not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(DIGITS, DigitsExtractor)
    if name not in (DIGITS, INCEPTION):
        raise UserError(f"unknown extractor {name!r}; known: {DIGITS}, {INCEPTION}")
    if not weights.is_file():
        published = f"; published as {PUBLISHED[name]}" if name in PUBLISHED else ""
        raise UserError(f"weights {weights} of the extractor {name} do not exist{published}")
    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    layers = [kind.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")]
    try:
        if name == INCEPTION:
            # torch-fidelity reads the file without this restriction, so what it may hold is settled here.
            torch.load(weights, weights_only=True)
        network = kind(name, layers, feature_extractor_weights_path=str(weights))
    except Exception as error:  # on garbage the readers raise nearly anything, KeyError included
        raise UserError(f"weights {weights} are not those of the extractor {name}: {str(error)[:120]}") from error
    return Extractor(name, file_sha256(weights), network.to(device), device)
