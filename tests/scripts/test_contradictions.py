"""Settings that are each right and cannot be together, and outputs that would take the place of other results."""

import json
import sys
from pathlib import Path

import pytest

from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line

SWEEP = ["fractions=[0,1]", "num_images=4", "batch_size=4", "sampler.num_steps=2", "latency.repeats=1",
         "pair.evaluation.bootstrap=5"]  # fmt: skip

MISTAKES = [
    ("sample", ["pair.denoisers.s.config.hidden_size=65"], "needs a hidden_size that 4 and num_heads="),
    ("sample", ["pair.denoisers.s.config.num_heads=7"], "needs a hidden_size that 4 and num_heads=7 divide"),
    ("sample", ["pair.denoisers.s.config.input_size=7"], "needs an input_size that patch_size=2 divides, got 7"),
    (
        "sample",
        ["pair=fashion_unet_s_l", "pair.denoisers.s.config.norm_num_groups=7"],
        "norm_num_groups=7 must divide",
    ),
    ("sample", ["pair.schedule.beta_start=0.5"], "needs 0 < beta_start < beta_end < 1"),
    ("sample", ["stitch.counts=[20,30]", "allocation.rule=timestep"], "and stitch.counts has none to round"),
    ("allocation", ["stitch.timestep_boundaries=500", "allocation.rule=timestep_strict"], "has none to round"),
    (
        "allocation",
        ["pair=fashion_dit_s_b_xl", "stitch.log_snr_boundaries=[5,1]"],
        "stitch.log_snr_boundaries must be finite numbers that ascend, got [5, 1]",
    ),
    ("table", ["captions=x", "name=table1"], "captions= is for tables from prompts, and none of these is: table1"),
    ("sample", ["tflops=5"], "tflops=5 is for dry_run=true"),
    ("sample", ["sampler=[ddim,plms]"], "sampler takes one name, got [ddim,plms]"),
    ("sweep", ["process_per_point=true"], "process_per_point=true is with ranks=N"),
    ("allocation", ["num_calls=51"], "num_calls is with unet_s_ratio"),
    ("allocation", ["pair=fashion_dit_s_b_xl", "denoising_end=0.5"], "denoising_end is for two denoisers"),
    ("allocation", ["denoising_end=0.5", "stitch.fraction=0.5"], "denoising_end and stitch.fraction are both set"),
]


@pytest.mark.parametrize(("command", "arguments", "message"), MISTAKES)
def test_settings_that_cannot_be_together(capfd, monkeypatch, command, arguments, message) -> None:
    check_one_line(run_here(capfd, monkeypatch, command, *arguments), message)


def test_a_sweep_takes_no_other_results_place(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}").code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for change, message in {
        "seed=1": "holds another sweep; it differs in seed (0 there, 1 here)",
        "pair.evaluation.metrics=[fid]": "metrics (inception_score there, not here)",
        "guidance.scale=2": "it differs in guidance.scale",
    }.items():
        check_one_line(run_here(capfd, monkeypatch, "sweep", *SWEEP, change, f"out={out}"), message)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    more = ["fractions=[0,0.5,1]", "pair.evaluation.metrics=[fid,inception_score,kid]"]
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, *more, f"out={out}").code == 0
    assert len(json.loads((out / "sweep.json").read_text())["points"]) == 3
    check_one_line(
        run_here(capfd, monkeypatch, "table", "name=table1", f"sweep={out}", f"out={tmp_path / 'tables'}"),
        "is of digits_dit_s_xl, the experiment of ldm_s_ldm",
    )

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    taken = run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={tmp_path / 'thesis'}")
    check_one_line(taken, "thesis is not empty and holds no sweep")
    taken = run_here(capfd, monkeypatch, "train", "recipe=dit_s", f"out={tmp_path / 'thesis'}")
    check_one_line(taken, "thesis is not empty and holds no training")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_an_output_that_cannot_be_written_is_found_before_the_work(capfd, monkeypatch, tmp_path: Path) -> None:
    """/proc refuses every new file, whoever asks."""
    (tmp_path / "thesis.tex").write_text("mine")
    zoo = "models/zoo/digits"
    for command, arguments, message in (
        ("latency", ["out=/proc/x.json"], "cannot create /proc/x.json: /proc takes no files"),
        ("latency", ["out=/proc/a/x.json"], "cannot create /proc/a/x.json: /proc takes no files"),
        ("evaluate", [f"samples={tmp_path}", "out=/proc/x.json"], "takes no files"),
        ("analyse", ["analysis=similarity", f"out={tmp_path}"], "is not empty and holds no analysis (thesis.tex is"),
        ("analyse", ["analysis=similarity", "out=/proc/a"], "takes no files"),
        ("reference", ["make", zoo, "/proc/x.npz", "--extractor-weights", zoo], "takes no files"),
        ("reference", ["make", zoo], "the following arguments are required: out, --extractor-weights; "),
        ("reference", ["show", zoo], f"reference {zoo} is a directory, not a file"),
        ("point", [], "the following arguments are required: points"),
    ):
        check_one_line(run_here(capfd, monkeypatch, command, *arguments), message)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


WEIGHTS = {
    ("verify", "--directory", "/no/where", "dit_xl_256"): "fetch dit_xl_256 --directory /no/where",
    ("fetch", "dit_xl_256", "--mirror", "foo"): "the mirror must be an address such as https://HOST/FOLDER, got 'foo'",
    ("fetch", "dit_xl_256", "--mirror", "http://[a"): "must be an address such as https://HOST/FOLDER, got 'http://[a'",
    ("convert", "models/zoo/digits/dit_s.safetensors", "x.safetensors"): "is a .safetensors file already",
    ("convert", "models/zoo", "x.safetensors"): "models/zoo is a directory, not a file; give a .pt or .ckpt file",
    ("verify", "--directory"): "argument --directory: expected one argument; ",
    ("lst",): "argument command: invalid choice: 'lst' (choose from",
}


@pytest.mark.parametrize("arguments", WEIGHTS, ids=" ".join)
def test_a_mistake_with_weights_is_one_line(capfd, monkeypatch, arguments: tuple[str, ...]) -> None:
    check_one_line(run_here(capfd, monkeypatch, "weights", *arguments), WEIGHTS[arguments])


def test_a_dry_run_makes_nothing(capfd, monkeypatch, tmp_path: Path) -> None:
    for command, own in {"latency": ["fractions=[0,1]"], "analyse": ["analysis=similarity"]}.items():
        outcome = run_here(capfd, monkeypatch, command, *own, "dry_run=true", f"out={tmp_path / command}")
        assert outcome.code == 0, outcome.err
        assert "digits_dit_xl takes" in outcome.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["recipe.denoiser.config.num_classes=5"], "has num_classes=5; training here needs 10"),
        (["recipe.denoiser.config.input_size=16"], "has input_size=16; training here needs 8"),
        (["recipe.denoiser.config.num_heads=5"], "needs a hidden_size that 4 and num_heads=5 divide"),
    ],
)
def test_a_recipe_that_cannot_be_trained_claims_no_directory(capfd, monkeypatch, tmp_path, changes, message) -> None:
    outcome = run_here(capfd, monkeypatch, "train", "recipe=dit_s", *changes, f"out={tmp_path / 'out'}")
    check_one_line(outcome, message)
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_shown_is_no_error(tmp_path: Path) -> None:
    shell = ["sh", "-c", f"{sys.executable} -m scripts.allocation >&-"]
    outcome = run(*shell)
    assert (outcome.code, outcome.err) == (0, "")
    ascii_only = ["env", "PYTHONUTF8=0", "PYTHONIOENCODING=ascii", *PYTHON, "-m", "scripts.sample", "num_images=1"]
    small = ["batch_size=1", "sampler.num_steps=2", "stitch.fraction=1", f'out="{tmp_path}/é r"']
    outcome = run(*ascii_only, *small)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "é r" / "samples.npz").is_file()
