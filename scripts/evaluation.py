"""Load what an evaluation needs from a run's own record. Shared by evaluate and sweep."""

from pathlib import Path

import torch

from evaluation.extractors import Extractor, load_extractor
from evaluation.statistics import Statistics, load_statistics
from scripts.plan import resolve_path


def load_evaluation(settings: dict, device: torch.device) -> tuple[Extractor, Statistics, Path]:
    """The extractor, the reference statistics and the path of the latter; the cheap check comes first."""
    reference_path = resolve_path(settings["reference"])
    reference = load_statistics(reference_path)
    extractor = load_extractor(settings["extractor"], resolve_path(settings["extractor_weights"]), device)
    return extractor, reference, reference_path
