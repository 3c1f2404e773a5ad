"""Feature extractors: torch-fidelity's by name, and the zoo's classifiers registered beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file, load_model
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from checkpoints.read import read_checkpoint, state_dict_of
from evaluation.metrics.digits_classifier import DigitsClassifier
from evaluation.metrics.staged_classifier import StagedClassifier
from tstitch.errors import UserError, explain_error, explain_no_file
from tstitch.runs.digest import file_sha256

DIGITS, FASHION, INCEPTION, DINOV2 = "digits", "fashion", "inception-v3-compat", "dinov2"
CLASSIFIERS: dict[str, type[nn.Module]] = {DIGITS: DigitsClassifier, FASHION: StagedClassifier}
PUBLISHED = {
    INCEPTION: "weights-inception-2015-12-05-6726825d.pth in release v0.2.0 of torch-fidelity",
    DINOV2: "dinov2_vitb14_pretrain.pth by facebookresearch/dinov2",
}
SPATIAL_CHANNELS = 7
INCEPTION_CPU_BATCH = 16  # more takes memory, and on a CPU it is slower: the activations leave the cache


class ZooExtractor(FeatureExtractorBase):
    """A classifier of the zoo as a torch-fidelity extractor: `features` (N, D) and `logits` (N, 10).

    Takes bytes (N, 3, 32, 32); the three channels are averaged to grey.
    """

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **_: object):
        super().__init__(name, features_list)
        self.classifier = CLASSIFIERS[name]()
        check_numbers(self.classifier, load_file(feature_extractor_weights_path))
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


class DINOv2Extractor(FeatureExtractorBase):
    """DINOv2 ViT-B/14 as a torch-fidelity extractor over a file: `features` (N, 768), the class token.

    torch-fidelity's own has no way to read a file. Images are resized to 224 pixels and normalised as there.
    """

    SIDE = 224

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str, **_: object):
        super().__init__(name, features_list)
        self.model = timm.create_model("vit_base_patch14_dinov2", img_size=self.SIDE, num_classes=0)
        state = read_checkpoint(Path(feature_extractor_weights_path), state_dict_of)
        state = checkpoint_filter_fn(state, self.model)
        check_numbers(self.model, state)
        self.model.load_state_dict(state)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_DEFAULT_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_DEFAULT_STD).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"fid": "features", "kid": "features", "prc": "features"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, DINOv2Extractor.SIDE, DINOv2Extractor.SIDE, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        resized = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (self.SIDE, self.SIDE), align_corners=False)
        return (self.model((resized - self.mean) / self.std),)


@dataclass(frozen=True)
class Features:
    """Outputs of an extractor for N images, float32: `pool` (N, D), and where it has them `logits` and `spatial`."""

    pool: np.ndarray
    logits: np.ndarray | None = None
    spatial: np.ndarray | None = None


@dataclass(frozen=True)
class Extractor:
    """A loaded extractor: its name, the checksum of its weights, and what computes.

    `spatial` of Inception are the first 7 channels of the 1x1 branch of `Mixed_6d` after its ReLU,
    17x17 of them, flattened as height, width, channel: what sFID is computed from.
    """

    name: str
    weights_sha256: str
    network: FeatureExtractorBase
    device: torch.device

    @property
    def has_spatial(self) -> bool:
        return self.name == INCEPTION

    @property
    def has_logits(self) -> bool:
        return self.name != DINOV2

    def batch_size(self, asked: int) -> int:
        """Return the number of images at once, of as many as were asked for."""
        on_cpu = self.device.type == "cpu" and self.name == INCEPTION
        return min(asked, INCEPTION_CPU_BATCH) if on_cpu else asked

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, with_spatial: bool = False) -> Features:
        """The features of bytes (N, H, W, 3)."""
        batch = torch.tensor(images).permute(0, 3, 1, 2).contiguous().to(self.device)
        branches: list[Tensor] = []
        hook = None
        if with_spatial:
            assert self.has_spatial, "only Inception has spatial features"
            hook = self.network.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, out: branches.append(out))
        try:
            outputs = [output.float().cpu().numpy() for output in self.network(batch)]
        finally:
            if hook is not None:
                hook.remove()
        spatial = None
        if with_spatial:
            spatial = branches[0][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1).float().cpu().numpy()
        return Features(outputs[0], outputs[1] if self.has_logits else None, spatial)


def load_extractor(name: str, weights: Path, device: torch.device) -> Extractor:
    """Load an extractor's weights from a file; nothing is downloaded and nothing in the file is executed.

    Raises:
        UserError: an unknown name, or a file that is missing, damaged or of another network.
    """
    for own, kind in (*((zoo, ZooExtractor) for zoo in CLASSIFIERS), (DINOV2, DINOv2Extractor)):
        if own not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(own, kind)
    if name not in (known := (*CLASSIFIERS, INCEPTION, DINOV2)):
        raise UserError(f"unknown extractor {name!r}; known: {', '.join(known)}")
    if not weights.is_file():
        problem = explain_no_file(weights, are_many=True)
        published = f"; published as {PUBLISHED[name]}" if name in PUBLISHED else ""
        raise UserError(f"weights {weights} of the extractor {name} {problem}{published}; extractor_weights=FILE")
    # The published numbers are float32's; TF32 would change their fifth digit.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    metrics = ("fid",) if name == DINOV2 else ("fid", "isc")
    layers = [kind.get_default_feature_layer_for_metric(metric) for metric in metrics]
    try:
        network = kind(name, layers, feature_extractor_weights_path=_checked(name, weights))
    except Exception as error:  # on garbage the readers raise nearly anything, KeyError included
        reason = explain_error(error)
        raise UserError(f"weights {weights} are not those of the extractor {name}: {reason}") from error
    return Extractor(name, file_sha256(weights), network.to(device), device)


def check_numbers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise `UserError` for a tensor of whole numbers in the place of others, which loading would convert, or NaN."""
    for key, wanted in module.state_dict().items():
        value = state.get(key)
        if value is None or not wanted.is_floating_point():
            continue
        if not value.is_floating_point():
            raise UserError(f"{key!r} holds {value.dtype}, want {wanted.dtype}")
        if not torch.isfinite(value).all():
            raise UserError(f"{key!r} holds NaN or Inf")


def _checked(name: str, weights: Path) -> str | BytesIO:
    """The weights as the extractor wants them: ours read the file themselves, as data.

    torch-fidelity's runs what it is given, so it gets the tensors of the file, written anew, and never the file.
    """
    if name != INCEPTION:
        return str(weights)
    written = BytesIO()
    torch.save(read_checkpoint(weights, state_dict_of), written)
    written.seek(0)
    return written
