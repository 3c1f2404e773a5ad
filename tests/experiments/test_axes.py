import json
from pathlib import Path

import pytest

from experiments.axes import parse_fractions
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.errors import UserError

TINY = ["num_images=8", "batch_size=8", "sampler.num_steps=3", "latency.repeats=1", "pair.evaluation.bootstrap=5"]


def test_ranges() -> None:
    assert parse_fractions("0:1:0.1", 2)[3:5] == [[0.3, 0.7], [0.4, 0.6]]
    assert len(parse_fractions("0:1:0.1", 2)) == 11
    assert parse_fractions("0.2:0.6:0.2", 2) == [[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]]
    simplex = parse_fractions("0:1:0.1", 3)
    assert len(simplex) == len({tuple(point) for point in simplex}) == 66
    assert all(sum(point) == pytest.approx(1) and min(point) >= 0 for point in simplex)
    assert [0.3, 0.3, 0.4] in simplex
    for text in ("0:1", "a:b:c", "0:1:0", "0:1:0.3", "0:2:0.5", "1:0:0.1", "-1:1:0.5"):
        with pytest.raises(UserError, match="fractions"):
            parse_fractions(text, 2)
    with pytest.raises(UserError, match="fractions of 3 denoisers must be 0:1:STEP"):
        parse_fractions("0:0.5:0.1", 3)


def test_a_grid_over_everything(capfd, monkeypatch, tmp_path: Path) -> None:
    axes = [
        "fractions=[0.5]", "samplers=[ddim,euler]", "num_steps=[2,4]", "guidance_scales=[1,1.5]",
        "orders=[interleave,large_to_small]", "also=[{fractions: [0], orders: [small_to_large]}]",
    ]  # fmt: skip
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, *axes, f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    points = json.loads((tmp_path / "out" / "sweep.json").read_text())["points"]
    assert len(points) == 2 * 2 * 2 * 3
    found = {(p["sampler"], p["num_steps"], p["guidance_scale"], p["order"], tuple(p["allocation"])) for p in points}
    assert ("euler", 4, 1.5, "interleave", (0, 1, 0, 1)) in found
    assert ("ddim", 2, 1, "large_to_small", (1, 0)) in found
    assert ("ddim", 4, 1, "small_to_large", (1, 1, 1, 1)) in found
    paired = [p for p in points if p["paired"] is not None]
    assert len(paired) == 16, "every stitched point against the large model with its sampler, steps and scale"
    assert (tmp_path / "out" / "curve.svg").read_text().startswith("<svg")


def test_a_dry_run_counts_the_points_and_makes_nothing(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = ["pair=dit_s_b_xl", "fractions=0:1:0.1", "dry_run=true", "tflops=100", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *settings)
    assert outcome.code == 0, outcome.err
    assert "[66/66]" in outcome.out
    assert "missing: weights weights/dit_s_256.pt do not exist" in outcome.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("samplers=[edm]", "samplers must be a list of names out of ddim, ddpm, dpmpp_2m"),
        (
            "orders=[zigzag]",
            "large_to_small, interleave, decreasing, random, large_ends, small_ends, got 'zigzag' in ['zigzag']",
        ),
        ("orders=interleave", "orders must be a list of names out of small_to_large, large_to_small, interleave"),
        ("orders=[decreasing]", "decreasing is for two denoisers with half of the 3 steps each, got [0, 3]"),
        (
            "rules=[floor]",
            "rules must be a list of names out of steps, timestep, timestep_strict, got 'floor' in ['floor']",
        ),
        ("num_steps=[0]", "num_steps must be a list of whole numbers of 1 or more, got 0 in [0]"),
        (
            "also=[{sampler: ddim}]",
            "unknown key 'also.0.sampler'; did you mean also.0.samplers? known in also.0: fractions, guidance",
        ),
        ("also=ddim", "also must be a list of groups of settings, got 'ddim'"),
        ("experiment=typo", "unknown experiment 'typo'; known: fig11"),
        ("ranks=0", "ranks must be a whole number of 1 or more, got 0"),
        ("wandb.mode=on", "wandb.mode must be one of disabled, offline, online, got 'on'"),
        ("fractions=0:1:0.3", "STOP a whole number of steps on, got 0:1:0.3"),
    ],
)
def test_mistakes_are_one_line(capfd, monkeypatch, tmp_path: Path, argument: str, message: str) -> None:
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, argument, f"out={tmp_path / 'out'}")
    check_one_line(outcome, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["denoising_end=0.8"], "denoising_end=0.8: the first model takes t >= 200: stitch.timestep_boundaries=[200]"),
        (["boundary_ratio=0.9"], "that is 5 of 50 steps here: stitch.counts=[5,45]"),
        (["unet_s_ratio=0.5", "num_calls=51"], "that is 24 of 50 steps here: stitch.counts=[24,26]"),
        (["stitch.log_snr_boundaries=[-2]"], "after step 27 digits_dit_s hands over to digits_dit_xl: t = 469 and 449"),
        (["allocation.order=interleave"], "in 41 spans: 1 0 1 0 1 1 0"),
    ],
)
def test_foreign_settings_are_explained(capfd, monkeypatch, arguments: list[str], line: str) -> None:
    outcome = run_here(capfd, monkeypatch, "allocation", *arguments)
    assert outcome.code == 0, outcome.err
    assert line in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["denoising_end=0.8", "unet_s_ratio=0.5"], "denoising_end and unet_s_ratio are both set"),
        (["unet_s_ratio=0.5", "num_calls=26"], "num_calls must be 50, or 51 for PNDM, got 26"),
        (["stitch.timestep_boundaries=[600,200]"], "stitch.timestep_boundaries needs 1 value for 2 denoisers, got 2"),
        (
            ["stitch.timestep_boundaries=[600]", "stitch.counts=[1,49]"],
            "stitch.counts and stitch.timestep_boundaries",
        ),
        (["stitch.timestep_boundaries=[600]", "allocation.order=interleave"], "says which step is whose"),
    ],
)
def test_what_an_allocation_refuses(capfd, monkeypatch, arguments: list[str], message: str) -> None:
    check_one_line(run_here(capfd, monkeypatch, "allocation", *arguments), message)
