"""Choices beside an exhaustive grid, small: the digits, a few steps, three budgets."""

from pathlib import Path

import pytest
import torch

from benchmarks.choice import compare, list_grid, main
from experiments.choose.costs import Execution, write_costs
from tests.experiments.test_choose import CALIBRATION, settings_of
from tstitch.costs import Costs

FLOAT32 = Execution("float32", "none")
OF_STEP, FIXED = (0.0002, 0.001), 0.002
SMALL = [
    "ms=9", "num_steps=[2,4,6]", "samplers=[ddim,dpmpp_2m]", "guidance_scales=[1.1]", "distance_images=16",
    "rounds=[100,100]", "final_images=200", "batch_size=100", "against.num_steps=6", "latency.repeats=1",
    f"calibration={CALIBRATION}",
]  # fmt: skip


def test_the_grid_has_every_setting_once() -> None:
    costs = {(FLOAT32, scale): Costs(OF_STEP, FIXED) for scale in (1.1, 1.5)}
    grid = list_grid(settings_of(*SMALL), costs)
    shares = {2: 3, 4: 5, 6: 5}  # quarters of two steps round to three counts
    assert len(grid) == 2 * 2 * sum(shares.values())
    assert all(each.is_in_order for each in grid)
    assert min(each.seconds for each in grid) == pytest.approx(FIXED + 2 * OF_STEP[0])


def test_the_command_takes_budgets_and_settings(tmp_path: Path) -> None:
    write_costs(tmp_path, settings_of(*SMALL), torch.device("cpu"), {(FLOAT32, 1.1): Costs(OF_STEP, FIXED)})
    with pytest.raises(SystemExit, match=r"--ms 0\.1 is too little: the cheapest setting takes 2\.4 ms"):
        main([str(tmp_path), "--ms", "0.1,9", *SMALL[1:]])


@pytest.mark.long
def test_no_point_of_the_grid_beats_a_choice_beyond_its_interval(tmp_path: Path) -> None:
    device = torch.device("cpu")
    settings = settings_of(*SMALL)
    write_costs(tmp_path, settings, device, {(FLOAT32, 1.1): Costs(OF_STEP, FIXED)})
    result = compare(settings, [3.2, 5, 9], tmp_path, device)
    assert [each["num_fitting"] for each in result["budgets"]] == [8, 16, 26]
    assert len(result["grid"]) == 26
    fids = sorted((point["seconds"], point["fid"]) for point in result["grid"])
    for each in result["budgets"]:
        assert each["choice_minus_best"]["interval95"][0] <= 0, each
        best = min(fid for seconds, fid in fids if seconds <= each["ms"] / 1000)
        assert each["best_of_grid_fid"] == pytest.approx(best)
    assert result["budgets"][0]["choice_fid"] >= result["budgets"][2]["choice_fid"] - 1
