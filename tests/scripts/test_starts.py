"""Points of a sweep that go on from each other's first switch."""

import json
from collections import Counter
from pathlib import Path

import pytest

from models.denoisers import DiTDenoiser
from sampling import starts
from tests.scripts.command import run_here

TINY = ["num_images=6", "batch_size=4", "precision=bf16"]
SWEEP = [*TINY, "sampler.num_steps=8", "latency.repeats=1", "pair.evaluation.bootstrap=2"]
BATCH_BYTES = 4 * 4 * 8 * 8 * 4  # four images, 4 x 8 x 8 in float32
WIDTHS = {64: "small", 192: "large"}


@pytest.fixture
def calls(monkeypatch) -> Counter:
    """Calls of the small and the large denoiser with batches of the run; latency has others."""
    counter, plain = Counter(), DiTDenoiser.__call__

    def counted(self, latents, timestep, condition):
        if len(latents) in (8, 4):
            counter[WIDTHS[self.network.config.hidden_size]] += 1
        return plain(self, latents, timestep, condition)

    monkeypatch.setattr(DiTDenoiser, "__call__", counted)
    return counter


@pytest.mark.parametrize("sampler", [["sampler=ddim"], ["sampler=dpmpp_2m", "sampler.history=reset"]])
def test_each_step_of_the_small_model_is_taken_once_and_the_bytes_are_those_of_a_run_alone(
    capfd, monkeypatch, tmp_path: Path, calls: Counter, sampler: list[str]
) -> None:
    out = tmp_path / "sweep"
    fractions = ["fractions=[0,0.25,0.5,0.75]", "latency.batch_size=1", *sampler, f"out={out}"]
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, *fractions).code == 0
    assert calls == {"small": 2 * 6, "large": 2 * (8 + 6 + 4 + 2)}
    points = json.loads((out / "sweep.json").read_text())["points"]
    for number, point in enumerate(points):
        alone = tmp_path / str(number)
        stitched = [f"stitch.fractions={point['fractions']}", *sampler, "sampler.num_steps=8"]
        assert run_here(capfd, monkeypatch, "sample", *TINY, *stitched, f"out={alone}").code == 0
        assert (out / point["run"] / "samples.npz").read_bytes() == (alone / "samples.npz").read_bytes()


def test_what_is_remembered_has_a_limit_and_falling_fractions_remember_nothing_of_use(
    capfd, monkeypatch, tmp_path: Path, calls: Counter
) -> None:
    settings = [*SWEEP, "latency.batch_size=1"]
    falling = ["fractions=[0.75,0.5]", f"out={tmp_path / 'falling'}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings, *falling).code == 0
    assert calls["small"] == 2 * (6 + 4)
    calls.clear()
    monkeypatch.setattr(starts, "CAPACITY", BATCH_BYTES)
    rising = ["fractions=[0,0.5,0.75]", f"out={tmp_path / 'rising'}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings, *rising).code == 0
    assert calls["small"] == (4 + 4) + (2 + 6)
    half, most, _ = (json.loads(path.read_text()) for path in sorted((tmp_path / "rising").rglob("run.json")))
    assert "image_steps_taken_over" not in half
    assert most["image_steps_taken_over"] == 4 * 4


def test_points_of_other_samplers_and_scales_start_by_themselves_and_the_earlier_ones_are_forgotten(
    capfd, monkeypatch, tmp_path: Path, calls: Counter
) -> None:
    monkeypatch.setattr(starts, "CAPACITY", 2 * BATCH_BYTES)
    settings = [*SWEEP, "latency.batch_size=1", "fractions=[0.25,0.5]", f"out={tmp_path}"]
    grid = ["samplers=[ddim,plms]", "guidance_scales=[1.1,1.5]", "num_steps=[8]"]
    assert run_here(capfd, monkeypatch, "sweep", *settings, *grid).code == 0
    assert calls["small"] == 2 * (4 + 5) * 2  # PLMS calls its first denoiser twice
