"""The choice of a setting for a budget: costs, what fits, the rounds, and the whole command on the digits."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from experiments.choose import calibration, costs
from experiments.choose.ablation import ablations
from experiments.choose.candidates import list_candidates
from experiments.choose.choose import chosen_overrides
from experiments.choose.costs import FEW, MANY, Execution
from models.checkout import CONFIG_DIR
from sampling.configuration import checked
from sampling.plan import Plan, make_plan
from settings.choose import ChooseSettings
from tests.conftest import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.costs import Costs, fit_costs
from tstitch.errors import UserError

CALIBRATION = str(ROOT / "models/zoo/calibration/digits_dit_s_xl.json")
FLOAT32 = Execution("float32", "none")
COSTS = Costs((0.0002, 0.001), 0.002)


def settings_of(*overrides: str) -> ChooseSettings:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return checked("choose", compose("choose", list(overrides)))


def test_costs_are_the_line_through_two_measurements() -> None:
    seconds = [(0.003 + FEW * step, 0.003 + MANY * step) for step in (0.0002, 0.001)]
    costs = fit_costs(FEW, MANY, seconds)
    assert costs.of_step == pytest.approx((0.0002, 0.001))
    assert costs.fixed == pytest.approx(0.003)
    assert costs.seconds((0, 0, 1)) == pytest.approx(0.003 + 2 * 0.0002 + 0.001)


@pytest.mark.parametrize("ms", [4, 8, 20])
def test_what_is_listed_fits_and_could_not_hold_another_large_step(ms: int) -> None:
    settings = settings_of(f"ms={ms}", "num_steps=[5,10,20]", "samplers=[ddim,dpmpp_2m]", "guidance_scales=[1.1]")
    listed = list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION)
    assert {each.plan.sampler_name for each in listed} == {"ddim", "dpmpp_2m"}
    for each in listed:
        allocation = each.plan.allocation
        assert each.seconds == pytest.approx(COSTS.seconds(allocation))
        assert each.seconds <= ms / 1000 + 1e-12
        small = allocation.count(0)
        assert small == 0 or each.seconds + 0.0008 > ms / 1000, "one step more of the large model would not fit"
    by_counts = {}
    for each in listed:
        key = each.plan.sampler_name, len(each.plan.timesteps), each.plan.allocation.count(0)
        by_counts.setdefault(key, []).append(each.is_in_order)
    assert all(sum(orders) == 1 and len(orders) <= 2 for orders in by_counts.values())


def test_each_part_of_a_choice_is_switched_off_in_turn() -> None:
    settings = settings_of("ms=8", "num_steps=[10]", "samplers=[dpmpp_2m]", "guidance_scales=[1.1]")
    [in_order, *_] = list_candidates(settings, {(Execution("bf16", "default"), 1.1): COSTS}, CALIBRATION)
    plans = {name: make_plan(own) for name, own in ablations(in_order, settings).items()}
    assert list(plans) == ["without stitching", "without its solver and steps", "without bf16, compile=default"]
    alone, slow, plain = plans.values()
    large, share = len(in_order.plan.specs) - 1, in_order.plan.fractions
    assert (alone.sampler_name, alone.allocation, alone.precision) == ("dpmpp_2m", (large,) * 10, "bf16")
    assert (slow.sampler_name, len(slow.allocation), slow.fractions, slow.compile) == ("ddim", 100, share, "default")
    assert (plain.sampler_name, plain.allocation) == ("dpmpp_2m", in_order.plan.allocation)
    assert (plain.precision, plain.compile) == ("float32", "none")
    settings = settings_of("ms=8", "num_steps=[10]", "samplers=[dpmpp_2m]", "guidance_scales=[1]")
    [unguided, *_] = list_candidates(settings, {(FLOAT32, 1.0): COSTS}, CALIBRATION)
    assert "without its guidance scale" in ablations(unguided, settings)


def test_a_budget_that_nothing_fits_into_says_what_would() -> None:
    settings = settings_of("ms=2.5", "num_steps=[5,10]", "guidance_scales=[1.1]")
    with pytest.raises(UserError, match=r"ms=2\.5 is too little: the cheapest setting takes 3 ms"):
        list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION)
    settings = settings_of("ms=9", "gb=0.0001", "num_steps=[5]", "guidance_scales=[1.1]")
    with pytest.raises(UserError, match=r"gb=0\.0001 is too little: the denoisers of the smallest setting have"):
        list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION)


def test_memory_rules_out_two_networks_and_leaves_one() -> None:
    """DiT-S alone has 0.001 GB in float32, with DiT-XL it is 0.02."""
    settings = settings_of("ms=3", "gb=0.01", "num_steps=[5,10]", "guidance_scales=[1.1]")
    listed = list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION)
    assert listed
    assert all(set(each.plan.allocation) == {0} for each in listed)


def test_memory_leaves_one_network_also_where_the_time_would_pay_for_both() -> None:
    settings = settings_of("ms=9", "gb=0.01", "num_steps=[5]", "guidance_scales=[1.1]")
    listed = list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION)
    assert {each.plan.allocation for each in listed} == {(0,) * 5}
    assert len(listed) == 2, "of each solver"


def test_costs_are_of_the_steps_that_run_and_of_the_solvers_of_the_choice(monkeypatch) -> None:
    timed = []

    class Jobs:
        def job(self, plan: Plan) -> "Jobs":
            timed.append(plan)
            return self

        def sample(self, indices: range) -> None:
            raise AssertionError

    def seconds(calls: list, repeats: int, device: torch.device) -> list:
        ms = [2 + len(plan.steps) * (4.0 if plan.allocation[0] else 0.5) for plan in timed]
        return [SimpleNamespace(median_s=own / 1000) for own in ms]

    monkeypatch.setattr(costs, "make_jobs", lambda plans, device: Jobs())
    monkeypatch.setattr(costs, "measure_latency", seconds)
    settings = settings_of("pair=fashion_unet_s_l", "ms=9", "sampler=heun", "samplers=[ddim]", "latency.batch_size=1")
    measured = costs.measure_costs(settings, FLOAT32, 1.5, torch.device("cpu"))
    assert {plan.sampler_name for plan in timed} == {"ddim"}
    assert len(timed[1].steps) == 13, "where 12 were asked for"
    assert measured.of_step == pytest.approx((0.0005, 0.004)) and measured.fixed == pytest.approx(0.002)


def test_settings_of_a_solver_are_kept_for_that_solver_alone() -> None:
    settings = settings_of("ms=9", "num_steps=[5]", "guidance_scales=[1.1]", "sampler=ddim", "sampler.eta=0.5")
    given = ["ms=9", "sampler=ddim", "sampler.eta=0.5", "labels=balanced"]
    for candidate in list_candidates(settings, {(FLOAT32, 1.1): COSTS}, CALIBRATION):
        chosen = chosen_overrides(SimpleNamespace(best=SimpleNamespace(candidate=candidate)), settings, given)
        is_ddim = candidate.plan.sampler_name == "ddim"
        assert ("sampler.eta=0.5" in chosen) == is_ddim and "labels=balanced" in chosen
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            plan = make_plan(checked("sample", compose("sample", chosen)))
        assert (plan.sampler, plan.allocation) == (candidate.plan.sampler, candidate.plan.allocation)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ms=0"], "ms must be a number above 0, got 0"),
        (
            ["ms=8", "samplers=[heun]"],
            "samplers may be ddim, dpmpp_2m, unipc, euler, lcm, whose steps are one call each",
        ),
        (["ms=8", "stitch.fraction=0.4"], "scripts.choose chooses who takes which step; leave out stitch and router"),
        (["ms=8", "router=held"], "leave out stitch and router"),
        (["ms=8", "final_seed=2"], "final_seed=2 is among the seeds of the choice, 0 to 3"),
        (["ms=8", "pair.evaluation.metrics=[inception_score]"], "scripts.choose chooses by FID"),
        ([], "ms is missing; give ms=VALUE"),
        (["ms=8", "dry_run=true"], "scripts.choose has no dry_run"),
    ],
)
def test_mistakes_are_one_line(capfd, monkeypatch, overrides: list[str], message: str) -> None:
    check_one_line(run_here(capfd, monkeypatch, "choose", *overrides), message)


@pytest.mark.long
def test_a_choice_is_a_command_that_runs_and_the_same_command_samples_nothing_again(
    capfd, monkeypatch, tmp_path: Path
) -> None:
    out = tmp_path / "choice"
    command = [
        "pair=digits_dit_s_xl", "ms=1000", f"calibration={CALIBRATION}", "num_steps=[2,4]", "samplers=[ddim,dpmpp_2m]",
        "guidance_scales=[1.1,1.5]", "distance_images=8", "rounds=[40,40]", "final_images=40", "against.num_steps=6",
        "batch_size=40", "latency.repeats=1", "labels=balanced", "sampler.history=reset", f"out={out}",
    ]  # fmt: skip
    outcome = run_here(capfd, monkeypatch, "choose", *command)
    assert outcome.code == 0, outcome.err
    choice = json.loads((out / "choice.json").read_text())
    assert choice["num_candidates"] == 8, "the large model alone at each solver, number of steps and scale"
    assert choice["difference"]["value"] == pytest.approx(choice["fid"] - choice["baseline_fid"])
    assert choice["seed"] not in range(4)
    assert list(choice["seconds_per_image"]) == ["baseline", "without its solver and steps", "choice"]
    assert all(seconds > 0 for seconds in choice["seconds_per_image"].values())
    assert (out / "choice.png").is_file()
    again = run_here(capfd, monkeypatch, "choose", *command)
    assert "\n0 images were sampled for it, of 8 settings that fit." in again.out
    assert json.loads((out / "choice.json").read_text())["allocation"] == choice["allocation"]
    given = choice["command"][3:]
    assert given[:3] == ["pair=digits_dit_s_xl", "batch_size=40", "labels=balanced"]
    is_given_solver = "sampler=ddim" in given
    assert ("sampler.history=reset" in given) == is_given_solver, "another solver was run with its own history"
    sampled = run_here(capfd, monkeypatch, "sample", *given, "num_images=2", f"out={tmp_path / 'images'}")
    assert sampled.code == 0, sampled.err


def test_a_calibration_is_of_the_small_models_weights_too(monkeypatch, tmp_path: Path) -> None:
    measured = []

    def measure(kind: str, plan: Plan, settings: ChooseSettings, device: torch.device) -> SimpleNamespace:
        measured.append(plan.specs[0].path)
        return SimpleNamespace(data={})

    monkeypatch.setattr(calibration, "analyse", measure)
    other = tmp_path / "other.safetensors"
    state = load_file(ROOT / "models/zoo/digits/dit_s.safetensors")
    save_file({name: 2 * values for name, values in state.items()}, other)
    for overrides in ([], [], [f"pair.denoisers.s.path={other}"]):
        settings = settings_of("pair=digits_dit_s_xl", "ms=9", *overrides)
        calibration.calibrate(settings, tmp_path / "out", torch.device("cpu"))
    assert len(measured) == 2, "once for each small model"


def test_costs_are_of_the_autoencoder_too(tmp_path: Path) -> None:
    settings, device = settings_of("ms=9"), torch.device("cpu")
    costs.write_costs(tmp_path, settings, device, {(FLOAT32, 1.5): COSTS})
    assert costs.read_costs(settings, tmp_path, device) == {(FLOAT32, 1.5): COSTS}
    assert costs.read_costs(settings_of("ms=9", "autoencoder_precision=bf16"), tmp_path, device) == {}


def test_one_denoiser_leaves_nothing_to_choose() -> None:
    with pytest.raises(UserError, match="chooses between two denoisers or more, pair=fashion_dit_s_xl has one"):
        settings_of("pair=fashion_dit_s_xl", "ms=9", "~pair.denoisers.s", "pair.fractions=[1]")
