"""Runs with every kind of router: what images decide is kept, a run is continued, an identity has every setting."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from models.checkout import CONFIG_DIR
from sampling.configuration import checked
from sampling.cost import count_evaluations
from sampling.plan import make_plan
from tests.conftest import ROOT
from tests.sampling.test_interruptions import torchrun
from tests.scripts.command import run, run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.run import load_run
from tstitch.runs.shards import read_decisions

KINDS = sorted(path.stem for path in (CONFIG_DIR / "router").glob("*.yaml"))
SMALL = ["num_images=6", "batch_size=4", "sampler.num_steps=6"]
STEPS = 6


@pytest.fixture(scope="module")
def calibration(tmp_path_factory) -> Path:
    """Written by hand: the disagreement is least in the middle."""
    path = tmp_path_factory.mktemp("calibration") / "disagreement.json"
    curve = {"label": "digits_dit_s", "mean": [0.5, 0.3, 0.1, 0.2, 0.4, 0.6], "std": [0.0] * 6}
    timesteps = [999, 799, 599, 400, 200, 0]
    path.write_text(json.dumps({"data": {"timesteps": timesteps, "weights": [1.0] * 6, "curves": [curve]}}))
    return path


def arguments_of(kind: str, calibration: Path) -> list[str]:
    more = {
        "track": [f"router.calibration={calibration}", "stitch.fraction=0.5"],
        "knapsack": [f"router.calibration={calibration}"],
        "latent_change": ["router.min_steps=2"],
        "probe": ["router.threshold=0.02", "router.every=1"],
        "ml_em": ["stitch.fraction=0.5", "router.draws=bernoulli"],
        "hybrid": ["router.first_share=0.2", "router.hybrid_share=0.6", "router.every=2"],
    }
    return [f"router={kind}", *more.get(kind, [])]


def sampled(capfd, monkeypatch, out: Path, *arguments: str) -> Path:
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, *arguments, f"out={out}")
    assert outcome.code == 0, outcome.err
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_keeps_what_images_decided_and_a_lost_shard_is_made_again(
    capfd, monkeypatch, tmp_path: Path, calibration: Path, kind: str
) -> None:
    out = sampled(capfd, monkeypatch, tmp_path / "run", *arguments_of(kind, calibration))
    merged = (out / "samples.npz").read_bytes()
    loaded = load_run(out)
    decisions = read_decisions(loaded.shards, loaded.blocks, loaded.id)
    by_image = kind in ("latent_change", "probe", "mdd", "ml_em")
    assert bool(decisions) == by_image
    with np.load(out / "samples.npz") as file:
        assert set(file.files) == {"arr_0", "arr_1", *decisions}
        for name, values in decisions.items():
            assert np.array_equal(file[name], values) and len(values) == 6
    record = json.loads((out / "run.json").read_text())
    if by_image:
        wanted = [record["evaluations"].get(name, 0) for name in ("digits_dit_s", "digits_dit_xl")]
        assert decisions["evaluations"].sum(axis=0).tolist() == wanted, "the ledger of the run is that of its images"
    if kind == "probe":
        switch, evaluations = decisions["switch_step"], decisions["evaluations"]
        # Guided calls count twice: the small one up to the switch, the large one at each probe and after the switch.
        assert evaluations[:, 0].tolist() == (2 * np.minimum(switch + 1, STEPS)).tolist()
        assert evaluations[:, 1].tolist() == [2 * STEPS] * 6
    next(iter(loaded.shards.glob("*.npz"))).unlink()
    sampled(capfd, monkeypatch, out, *arguments_of(kind, calibration))
    assert (out / "samples.npz").read_bytes() == merged


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mdd", "probe", "ml_em"])
def test_ranks_change_no_byte(capfd, monkeypatch, tmp_path: Path, calibration: Path, kind: str) -> None:
    arguments = [*SMALL, *arguments_of(kind, calibration)]
    alone = sampled(capfd, monkeypatch, tmp_path / "alone", *arguments_of(kind, calibration))
    outcome = run(*torchrun(2), "-m", "scripts.sample", *arguments, f"out={tmp_path / 'ranks'}")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "ranks/samples.npz").read_bytes() == (alone / "samples.npz").read_bytes()


def test_track_is_the_allocation_that_it_compiles_to(capfd, monkeypatch, tmp_path: Path, calibration: Path) -> None:
    """Same identity, same bytes: the three middle steps, where the calibration disagrees least."""
    out = tmp_path / "run"
    made = sampled(capfd, monkeypatch, out, *arguments_of("track", calibration))
    before = (made / "run.json").read_bytes()
    sampled(capfd, monkeypatch, out, "stitch.denoiser_per_step=[1,0,0,0,1,1]")
    assert (made / "run.json").read_bytes() == before


def test_a_calibration_is_read_between_its_timesteps(capfd, monkeypatch, calibration: Path) -> None:
    arguments = [f"router.calibration={calibration}", "router=track", "stitch.counts=[2,1]", "sampler.num_steps=3"]
    outcome = run_here(capfd, monkeypatch, "allocation", *arguments)
    assert "allocation: [0, 0, 1]" in outcome.out, "0.5, something between 0.1 and 0.2, 0.6"


OTHER = {
    "order": "small_to_large", "delta": 0.5, "min_steps": 3, "threshold": 0.3, "every": 3, "budget": 0.9,
    "first_share": 0.4, "hybrid_share": 0.3, "region": 0.6, "probabilities": "geometric", "draws": "systematic",
}  # fmt: skip


def test_a_calibration_of_other_weights_is_refused(capfd, monkeypatch, tmp_path: Path) -> None:
    """A network that was trained anew under its name disagrees elsewhere."""
    shipped = json.loads((ROOT / "models/zoo/calibration/fashion_dit_s_xl.json").read_text())
    place = tmp_path / "disagreement.json"
    arguments = ["pair=fashion_dit_s_xl", "router=track", f"router.calibration={place}", "dry_run=true"]
    place.write_text(json.dumps(shipped))
    assert run_here(capfd, monkeypatch, "sample", *arguments).code == 0
    shipped["identity"]["denoisers"]["fashion_dit_s"]["sha256"] = "0" * 64
    place.write_text(json.dumps(shipped))
    outcome = run_here(capfd, monkeypatch, "sample", *arguments)
    check_one_line(outcome, "is of other weights of fashion_dit_s than ")
    assert "analysis=disagreement makes one for these" in outcome.err
    place.write_text(json.dumps({**shipped, "identity": ["other"]}))
    check_one_line(run_here(capfd, monkeypatch, "sample", *arguments), "is no calibration")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("allocation", "track", "knapsack")])
def test_every_setting_of_a_router_is_in_the_identity(capfd, monkeypatch, tmp_path: Path, calibration: Path, kind: str):
    out = sampled(capfd, monkeypatch, tmp_path / "run", *arguments_of(kind, calibration))
    text = (CONFIG_DIR / "router" / f"{kind}.yaml").read_text()
    keys = [line.partition(":")[0] for line in text.splitlines() if line[0] != "#"]
    for key in set(keys) - {
        "kind",
        "ratio",
        "calibration",
        "patch_size",
    }:  # the others come with these, or with the network
        more = ["router.ratio=1.5"] if key == "probabilities" else []
        value = "large_to_small" if kind == "probe" and key == "order" else OTHER[key]
        arguments = [own for own in arguments_of(kind, calibration) if not own.startswith(f"router.{key}=")]
        outcome = run_here(
            capfd, monkeypatch, "sample", *SMALL, *arguments, *more, f"router.{key}={value}", f"out={out}"
        )
        check_one_line(outcome, "holds another run; it differs in router")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["router=probe", "stitch.fraction=0.4"], "router=probe decides by itself, so stitch.fraction has no meaning"),
        (["router=mdd", "compile=default"], "router=mdd asks for parts of a batch, and compile=default is for one"),
        (["router=mdd", "sampler=dpmpp_2m", "sampler.history=reset"], "sampler.history=reset is for a switch of all"),
        (["router=ml_em", "sampler=dpmpp_2m"], "would poison the history of sampler=dpmpp_2m; use ddim, ddpm, euler"),
        (["router=held", "pair=fashion_dit_s_b_xl"], "router=held is for two denoisers, pair=fashion_dit_s_b_xl has 3"),
        (["router=held", "allocation.order=interleave"], "router=held chooses the steps, so allocation.order=inter"),
        (["router=ml_em", "router.probabilities=optimal"], "router.calibration=FILE go together; give both or neither"),
        (["router=ml_em", "router.ratio=2"], "router.ratio=NUMBER go together; give both or neither"),
        (
            ["router=track", "router.calibration=nowhere"],
            "router.calibration=nowhere does not exist; python -m",
        ),
        (["router=track"], "router.calibration is missing; give router.calibration=VALUE"),
        (
            ["router=hybrid", "router.first_share=0.8"],
            "router.first_share + router.hybrid_share must be at most 1, got 1.2",
        ),
        (
            ["router=hybrid", "router.patch_size=4"],
            "must be 2, as digits_dit_xl",
        ),
        (["router=probe", "router.min_steps=7"], "router.min_steps must be at most the 6 solver steps, got 7"),
        (["router=prob"], "router"),
        (["router=probe", "router.kind=mdd"], "unknown key 'router.order'"),
    ],
)
def test_what_cannot_go_together_is_one_line(capfd, monkeypatch, tmp_path: Path, arguments: list[str], message: str):
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, *arguments, f"out={tmp_path / 'out'}")
    check_one_line(outcome, message)
    assert not (tmp_path / "out").exists()


def test_a_budget_that_nothing_keeps_names_the_least(capfd, monkeypatch, calibration: Path) -> None:
    arguments = ["router=knapsack", f"router.calibration={calibration}", "router.budget=0.01"]
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, *arguments)
    check_one_line(outcome, "router.budget=0.01 of the large model's cost is too small: the cheapest denoiser alone t")


@pytest.mark.parametrize("text", ["{}", '{"data": {"timesteps": [0, 1], "curves": []}}', '{"data": 3}', "[]"])
def test_a_damaged_calibration_is_one_line(capfd, monkeypatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    arguments = ["router=track", f"router.calibration={tmp_path / 'c.json'}", "stitch.fraction=0.5"]
    check_one_line(run_here(capfd, monkeypatch, "sample", *SMALL, *arguments), "c.json ")


def test_a_dry_run_tries_what_images_decide(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = ["router=held", "router.every=3", "dry_run=true", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, *arguments)
    assert "digits_dit_s: 6 calls for an image of a trajectory of 6 steps, tried on 16 images" in outcome.out
    assert "digits_dit_xl: 2 calls for an image" in outcome.out
    assert not (tmp_path / "out").exists()


def test_a_region_is_charged_as_the_share_that_it_is(capfd, monkeypatch, tmp_path: Path, calibration: Path) -> None:
    """16 patches, of which 5 are 0.3: one step of the large model alone, two that choose, and two of a region."""
    out = sampled(capfd, monkeypatch, tmp_path / "run", *arguments_of("hybrid", calibration))
    evaluations = json.loads((out / "run.json").read_text())["evaluations"]
    assert evaluations["digits_dit_xl"] == pytest.approx(6 * 2 * (1 + 2 + 2 * 5 / 16))
    assert evaluations["digits_dit_s"] == 6 * 2 * 5
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        composed = compose("sample", [*SMALL, *arguments_of("hybrid", calibration)])
    counted = count_evaluations(make_plan(checked("sample", composed))).evaluations
    assert [6 * count for _, count in sorted(counted.items())] == pytest.approx(list(evaluations.values()))
