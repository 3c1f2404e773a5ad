"""What scoring will need is opened and checked before a sweep makes its first image."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

ZOO = ROOT / "models" / "zoo" / "digits"
TINY = ["fractions=[0,1]", "num_images=4", "batch_size=4", "sampler.num_steps=2", "latency.repeats=1"]


def reference_with(path: Path, **changes: object) -> Path:
    """The digits' reference with other arrays, None to leave one out."""
    with np.load(ZOO / "reference.npz") as file:
        arrays = {key: file[key] for key in file.files}
    kept = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **kept)
    return path


def mistakes(tmp_path: Path) -> dict[str, str]:
    text = tmp_path / "weights.safetensors"
    text.write_text("these are no weights")
    side = reference_with(tmp_path / "side.npz", side=np.array([16, 16]))
    features = reference_with(tmp_path / "statistics.npz", features=None)
    return {
        "pair.evaluation.metrics=[sfid]": "sfid needs Inception's spatial features",
        "pair.evaluation.metrics=[fd_dinov2]": "fd_dinov2 needs extractor=dinov2",
        f"pair.evaluation.extractor_weights={text}": "weights.safetensors",
        f"pair.evaluation.reference={side}": "side.npz (16, 16)",
        f"pair.evaluation.metrics=[kid] pair.evaluation.reference={features}": "kid needs the reference's features",
        f"pair.evaluation.reference={tmp_path / 'nowhere.npz'}": "nowhere.npz does not exist",
    }


@pytest.mark.parametrize("launcher", [[], ["ranks=2"]], ids=["in this process", "under torchrun"])
def test_nothing_is_sampled_that_cannot_be_scored(capfd, monkeypatch, tmp_path: Path, launcher: list[str]) -> None:
    out = tmp_path / "out"
    for changes, message in mistakes(tmp_path).items():
        outcome = run_here(capfd, monkeypatch, "sweep", *TINY, *changes.split(), *launcher, f"out={out}")
        check_one_line(outcome, message)
        assert not list(tmp_path.rglob("shards")), f"images were made before: {message}"
