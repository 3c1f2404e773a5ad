"""The reference data and its cases as test parameters; one thread for each test process of several."""

import json
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def reference_dir() -> Path:
    """Return the directory of the originals' numbers, which its README.md describes."""
    return ROOT / "tests/reference"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `dit_case` and `ldm_case` over the cases of the reference data."""
    for family in ("dit", "ldm"):
        if f"{family}_case" in metafunc.fixturenames:
            description = json.loads((reference_dir() / f"{family}.json").read_text())
            metafunc.parametrize(f"{family}_case", description["cases"])
