"""Where the reference data lies, and its cases as test parameters; one thread for each test process of several."""

import json
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def reference_dir() -> Path:
    """`TSTITCH_REFERENCE`, or `shared/reference` beside the checkout."""
    return Path(os.environ.get("TSTITCH_REFERENCE", ROOT.parent / "shared" / "reference"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `dit_case` and `ldm_case` over the cases that the directory has, whatever their number."""
    for family in ("dit", "ldm"):
        if f"{family}_case" not in metafunc.fixturenames:
            continue
        description = reference_dir() / f"{family}.json"
        if description.is_file():
            metafunc.parametrize(f"{family}_case", json.loads(description.read_text())["cases"])
        else:
            skip = pytest.mark.skip(reason=f"no reference data at {reference_dir()} (set TSTITCH_REFERENCE)")
            metafunc.parametrize(f"{family}_case", [pytest.param(None, marks=skip)])
