from pathlib import Path

import pytest
import torch

from tests.evaluation.inception import make_inception


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory) -> Path:
    """Inception weights in the published layout, with random values."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.manual_seed(0)
    make_inception(path)
    return path
