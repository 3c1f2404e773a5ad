"""What a user can get wrong ends in one line on stderr, exit code 2 and nothing lost."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from tests.scripts.command import run, run_here

ZOO = ROOT / "models/zoo/digits"
SMALL = ["stitch.fractions=[1,0]", "num_images=2", "batch_size=2", "sampler.num_steps=2"]

SAMPLE_MISTAKES = {
    "pair=digits_dit_x": "unknown pair 'digits_dit_x'; did you mean digits_dit_s_xl",
    "sampler=edm": "unknown sampler 'edm'; known: ddim, ddpm, dpmpp_2m",
    "sampler.steps=10": "unknown key 'sampler.steps'; did you mean sampler.num_steps? known in sampler: eta, grid",
    "fraction=0.4": "unknown key 'fraction'; did you mean stitch.fraction or",
    "stitch.fractions=[-0.1,1.1]": "stitch.fractions must be a list of numbers from 0 to 1, got -0.1 in [-0.1, 1.1]",
    "stitch.fractions=[0.4,0.5]": "fractions must sum to 1, got [0.4, 0.5], which sum to 0.9",
    "stitch.fractions=[nan,1]": "stitch.fractions must be a list of numbers from 0 to 1, got nan in [nan, 1]",
    "stitch.fractions=[0.4,0.3,0.3]": "stitch.fractions needs 2 values for 2 denoisers, got 3",
    "stitch.fractions=0.4": "stitch.fractions must be a list of numbers from 0 to 1, got 0.4",
    "stitch.fractions=[a,b]": "stitch.fractions must be a list of numbers from 0 to 1, got 'a' in ['a', 'b']",
    "stitch.counts=[1,2]": "counts must be 0 or more and sum to the 50 solver steps, got [1, 2]",
    "stitch.denoiser_per_step=[0,1]": "an explicit allocation needs 50 entries, one per step, got 2",
    "allocation.rule=floor": "allocation.rule must be one of steps, timestep, timestep_strict, got 'floor'",
    "sampler.num_steps=0": "sampler.num_steps must be a whole number of 1 or more, got 0",
    "sampler.num_steps=-5": "sampler.num_steps must be a whole number of 1 or more, got -5",
    "sampler.num_steps=1001": "num_steps must lie in 1..1000, got 1001",
    "sampler.num_steps=many": "sampler.num_steps must be a whole number of 1 or more, got 'many'",
    "sampler.eta=2": "sampler.eta must be a number from 0 to 1, got 2",
    "sampler.grid=cosine": "sampler.grid must be one of dit_linspace, ddim_stride, ldm_uniform, got 'cosine'",
    "num_images=0": "num_images must be a whole number of 1 or more, got 0",
    "batch_size=0": "batch_size must be a whole number of 1 or more, got 0",
    "seed=-1": "seed must be a whole number of 0 or more, got -1",
    "guidance.scale=0.5": "guidance.scale must be a number of 1 or more, or a list of them, got 0.5",
    "guidance.scale=[1.5,0]": "guidance.scale must be a number of 1 or more, or a list of them, got 0 in [1.5, 0]",
    "guidance.scale=[1,1,1]": "guidance.scale needs one value or 2, got [1, 1, 1]",
    "guidance.channels=5": "guidance channels must be 'all' or 1..4, got 5",
    "precision=fp8": "precision must be one of float32, tf32, bf16, fp16, auto, or a list of them, got 'fp8'",
    "precision=[bf16,int8]": "bf16, fp16, auto, or a list of them, got 'int8' in ['bf16', 'int8']",
    "precision=[bf16]": "precision needs one value or 2, got ['bf16']",
    "autoencoder_precision=auto": "autoencoder_precision must be one of float32, tf32, bf16, fp16, got 'auto'",
    "compile=fast": "compile must be one of none, default, max, got 'fast'",
    "residency=disk": "residency must be one of both, swap, staged, got 'disk'",
    "+pair.denoisers.s.config.width=1": "unknown key 'pair.denoisers.s.config.width'; known in",
    "labels=sorted": "labels must be one of random, balanced, got 'sorted'",
    "device=tpu": "device must be one of auto, cpu, cuda, got 'tpu'",
    "pair=dit_s_xl": "weights/dit_s_256.pt do not exist",
}


def check_one_line(outcome, message: str) -> None:
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("argument", SAMPLE_MISTAKES)
def test_sample_names_the_value(capfd, monkeypatch, tmp_path: Path, argument: str) -> None:
    out = tmp_path / "out"
    outcome = run_here(capfd, monkeypatch, "sample", argument, f"out={out}")
    check_one_line(outcome, SAMPLE_MISTAKES[argument])
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sweep", ["fractions=[]"], "or of lists of them, or START:STOP:STEP such as 0:1:0.1, got []"),
        (
            "sweep",
            ["fractions=[0,2]"],
            "or of lists of them, or START:STOP:STEP such as 0:1:0.1, got 2 in [0, 2]",
        ),
        ("sweep", ["fractions=[x]"], "got 'x' in ['x']"),
        (
            "sweep",
            ["guidance_scales=[0.5]"],
            "guidance_scales must be a list of numbers of 1 or more, or of lists of them, got 0.5 in [0.5]",
        ),
        ("sweep", ["latency.repeats=0"], "latency.repeats must be a whole number of 1 or more, got 0"),
        (
            "sweep",
            ["pair=fashion_dit_s_b_xl", "fractions=[0.5]"],
            "stitch.fractions needs 3 values for 3 denoisers",
        ),
        ("allocation", ["router=probe"], "router=probe decides as it runs; scripts.sample dry_run=true tries it"),
        ("latency", ["router=held"], "router=held is for scripts.sample and scripts.sweep; here are fractions"),
        ("analyse", ["router=mdd"], "router=mdd is for scripts.sample and scripts.sweep; here are fractions"),
        ("app", ["dry_run=true"], "a window has no dry_run"),
        ("evaluate", [], "give one of run=DIR (a run of ours) and samples=FILE_OR_DIR"),
        ("evaluate", ["run=nowhere"], "nowhere holds no run (no run.json)"),
        ("report", ["sweeps=[nowhere]"], "nowhere holds no sweep (no sweep.json)"),
        ("report", ["sweeps=nowhere"], "sweeps must be a list of paths, got 'nowhere'"),
        ("report", [], "give one of sweep=DIR and sweeps=[DIR,...]"),
        (
            "train",
            ["recipe=dit_xxl"],
            "unknown recipe 'dit_xxl'; did you mean dit_xl? known: autoencoder, classifier",
        ),
    ],
)
def test_other_commands_name_the_value(capfd, monkeypatch, name: str, arguments: list[str], message: str) -> None:
    check_one_line(run_here(capfd, monkeypatch, name, *arguments), message)


@pytest.mark.parametrize("damage", ["truncated", "shape", "nan", "missing"])
def test_damaged_weights_are_named_before_anything_is_written(capfd, monkeypatch, tmp_path: Path, damage: str) -> None:
    weights, out = tmp_path / "dit.safetensors", tmp_path / "out"
    state = {key: value.clone() for key, value in load_file(ZOO / "dit_s.safetensors").items()}
    if damage == "shape":
        state["pos_embed"] = torch.zeros(1, 4, 64)
    if damage == "nan":
        state["pos_embed"][0, 0, 0] = torch.nan
    save_file(state, weights)
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    if damage == "missing":
        weights.unlink()
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, f"pair.denoisers.s.path={weights}", f"out={out}")
    check_one_line(outcome, f"weights {weights}")
    assert not out.exists()


def test_a_directory_that_is_not_ours_is_left_alone(capfd, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    check_one_line(run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path}"), "is not empty")
    check_one_line(run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'thesis.tex'}"), "is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_of_another_run_is_refused(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(capfd, monkeypatch, "sample", *SMALL, f"out={out}").code == 0
    before = (out / "samples.npz").read_bytes()
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, "seed=1", f"out={out}")
    check_one_line(outcome, "holds another run; it differs in seed (0 there, 1 here)")
    assert (out / "samples.npz").read_bytes() == before


def test_an_out_that_cannot_be_written_is_one_line(capfd, monkeypatch) -> None:
    """/proc refuses every new directory, whoever asks."""
    outcome = run_here(capfd, monkeypatch, "sample", *SMALL, "out=/proc/tstitch/run")
    check_one_line(outcome, "/proc/tstitch")


def test_a_full_disk_is_one_line_and_the_run_continues(capfd, monkeypatch, tmp_path: Path) -> None:
    import tstitch.runs.fill as fill

    real, arguments = fill.write_shard, [*SMALL, "num_images=6", f"out={tmp_path / 'out'}"]
    calls = iter(range(100))

    def full(*args):
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(fill, "write_shard", full)
    check_one_line(run_here(capfd, monkeypatch, "sample", *arguments), "No space left on device")
    assert len(list((tmp_path / "out" / "shards").glob("*.npz"))) == 1
    monkeypatch.setattr(fill, "write_shard", real)
    outcome = run_here(capfd, monkeypatch, "sample", *arguments)
    assert outcome.code == 0
    assert "2/6 images are there already" in outcome.out
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        assert len(samples["arr_0"]) == 6


def test_a_mistake_leaves_no_traceback_in_a_process_of_its_own() -> None:
    check_one_line(run(sys.executable, "-m", "scripts.sample", "sampler.num_steps=0"), "sampler.num_steps")


@pytest.mark.parametrize("name", ["sample", "evaluate", "sweep", "train", "report"])
def test_help_and_configuration_are_shown(name: str) -> None:
    shown = run(sys.executable, "-m", f"scripts.{name}", "--help")
    assert shown.code == 0
    assert f"python -m scripts.{name}" in shown.out
    required = {"train": ["recipe=dit_s"]}.get(name, [])
    composed = run(sys.executable, "-m", f"scripts.{name}", *required, "--cfg", "job")
    assert composed.code == 0, composed.err


def test_run_record_is_complete(capfd, monkeypatch, tmp_path: Path) -> None:
    assert run_here(capfd, monkeypatch, "sample", *SMALL, f"out={tmp_path / 'out'}").code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["identity"]["allocation"] == [0, 0]
    assert record["timesteps"] == [999, 0]
    assert list(record["identity"]["denoisers"]) == ["digits_dit_s"]
    assert record["versions"]["torch"] == torch.__version__


def test_help_whose_reader_has_read_enough_ends_quietly() -> None:
    line = f"{sys.executable} -m scripts.sample --help | (read -r first; echo $first); exit ${{PIPESTATUS[0]}}"
    outcome = run("bash", "-c", line)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("python -m scripts.sample")
