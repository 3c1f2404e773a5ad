"""Shared fixtures: the reference directory, and one thread so that tests are the same everywhere."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def reference_dir() -> Path:
    """Where the reference data lies: `TSTITCH_REFERENCE`, or `shared/reference` beside the checkout."""
    return Path(os.environ.get("TSTITCH_REFERENCE", ROOT.parent / "shared" / "reference"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `dit_case` over the cases that the reference directory has, whatever their number."""
    if "dit_case" in metafunc.fixturenames:
        import json

        description = reference_dir() / "dit.json"
        if description.is_file():
            metafunc.parametrize("dit_case", json.loads(description.read_text())["cases"])
        else:
            reason = f"no reference data at {reference_dir()} (set TSTITCH_REFERENCE)"
            metafunc.parametrize("dit_case", [pytest.param(None, marks=pytest.mark.skip(reason=reason))])
