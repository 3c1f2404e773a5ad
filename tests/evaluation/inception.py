"""Inception weights as they are published, with random values."""

from pathlib import Path

import torch

from tests.published.extractors import write_inception


def make_inception(path: Path) -> None:
    """Write them with values that depend on the process's generator."""
    write_inception(path, seed=torch.initial_seed())
