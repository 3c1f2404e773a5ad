"""The latency tool: what it writes adds up, and agrees with what is known of the networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.latency
import models.placement.compiled
import sampling.plan
from models.checkout import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.outputs import check_output

STORAGE_MB = {  # of the shipped files
    name: (ROOT / "models" / "zoo" / "digits" / f"{name}.safetensors").stat().st_size / 1e6
    for name in ("dit_s", "dit_xl")
}


@pytest.fixture
def measured(capfd, monkeypatch, tmp_path: Path) -> dict:
    out = tmp_path / "deep" / "latency.json"
    settings = ["pair=digits_dit_s_xl", "sampler.num_steps=4", "fractions=[0,0.5]", "batch_sizes=[2,4]", "repeats=3"]
    outcome = run_here(capfd, monkeypatch, "latency", *settings, "guidance.scale=1.5", f"out={out}")
    assert outcome.code == 0, outcome.err
    assert "4 images at once" in outcome.out
    return json.loads(out.read_text())


def test_latency_adds_up(measured: dict) -> None:
    small, large = measured["denoisers"]
    for batch, size in zip(measured["batches"], (2, 4), strict=True):
        assert batch["batch_size"] == size
        # The small model alone was not asked for, but the ideal line goes through it.
        assert [point["fractions"] for point in batch["points"]] == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
        line, first, last = batch["line"], batch["points"][0], batch["points"][-1]
        for point in batch["points"]:
            r = point["fractions"][0]
            assert point["steps"] == point["network_calls"] == [4 * r, 4 * (1 - r)]
            gflops = [own["gflops_with_attention"] for own in measured["denoisers"]]
            both = sum(2 * calls * own for calls, own in zip(point["network_calls"], gflops, strict=True))
            assert point["gflops_per_image"] == pytest.approx(both), "guidance doubles the evaluations"
            assert point["p10_s"] <= point["median_s"] <= point["p90_s"]
            assert point["images_per_s"] == pytest.approx(size / point["median_s"])
            assert {"autoencoder", "rest"} < point["stages_s"].keys()
            assert point["median_s"] == pytest.approx(np.median(point["all_seconds"]))
            large_s, own_s, small_s = (np.array(own["all_seconds"]) for own in (first, point, last))
            ratios = own_s / (r * small_s + (1 - r) * large_s)
            assert point["deviation_percent"] == pytest.approx(100 * (np.median(ratios) - 1), abs=1e-9)
            network_s = sum(point["stages_s"].get(own["name"], 0) for own in (small, large))
            rate = point["gflops_per_image"] * size / network_s / 1000
            assert point["share_of_limit"] == pytest.approx(rate / measured["matmul_tflops"])
            assert {own["matmul_tflops"] for own in measured["denoisers"]} == {measured["matmul_tflops"]}
        for point, seconds in zip((last, first), line["denoisers_s"], strict=True):
            assert point["median_s"] == pytest.approx(line["fixed_s"] + seconds)
        assert first["deviation_percent"] == pytest.approx(0) == last["deviation_percent"]
        assert batch["switch_ms"] < first["median_s"] * 1000


def test_each_denoiser_is_held_against_the_limit_of_its_precision(capfd, monkeypatch, tmp_path: Path) -> None:
    """And the limit is measured in the context in which networks of that precision multiply."""
    contexts, rates = {}, {torch.bfloat16: 4.0, torch.float32: 1.0}

    def matmul_tflops(dtype: torch.dtype, device: torch.device, products: object) -> float:
        contexts[dtype] = products
        return rates[dtype]

    monkeypatch.setattr(experiments.latency, "matmul_tflops", matmul_tflops)
    monkeypatch.setattr(experiments.latency, "products", lambda precision, device: precision)
    out, settings = tmp_path / "latency.json", ["pair=digits_dit_s_xl", "sampler.num_steps=2", "fractions=[0.5]"]
    own = ["precision=[bf16,float32]", "batch_sizes=[2]", "repeats=1", f"out={out}"]
    assert run_here(capfd, monkeypatch, "latency", *settings, *own).code == 0
    result = json.loads(out.read_text())
    assert contexts == {torch.bfloat16: "bf16", torch.float32: "float32"}
    assert [denoiser["matmul_tflops"] for denoiser in result["denoisers"]] == [4.0, 1.0]
    assert result["matmul_tflops"] == 1.0
    both, small, large = result["batches"][0]["points"]
    for point, of_small, of_large in ((both, 1, 1), (large, 0, 2), (small, 2, 0)):
        calls = zip((of_small, of_large), (4.0, 1.0), result["denoisers"], strict=True)
        limit_s = sum(2 * 2 * n * own["gflops_with_attention"] / (1000 * rate) for n, rate, own in calls)
        network_s = sum(point["stages_s"].get(own["name"], 0) for own in result["denoisers"])
        assert point["share_of_limit"] == pytest.approx(limit_s / network_s)


def test_memory_is_of_the_networks_that_a_point_uses(measured: dict) -> None:
    small, large = measured["denoisers"]
    assert small["storage_mb"] == pytest.approx(STORAGE_MB["dit_s"])
    assert large["storage_mb"] == pytest.approx(STORAGE_MB["dit_xl"])
    autoencoder = measured["autoencoder_weights_mb"]
    for batch in measured["batches"]:
        resident = [point["resident_mb"] for point in batch["points"]]
        assert resident[0] == pytest.approx(large["weights_mb"] + autoencoder)
        assert resident[1] == pytest.approx(small["weights_mb"] + large["weights_mb"] + autoencoder)
        assert resident[2] == pytest.approx(small["weights_mb"] + autoencoder)
        for point in batch["points"]:
            assert point["peak_memory_mb"]["host"] > point["resident_mb"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("repeats=0", "repeats must be a whole number of 1 or more, got 0"),
        ("batch_sizes=8", "batch_sizes must be a list of whole numbers of 1 or more, got 8"),
        ("precisions=bf16", "tf32, bf16, fp16, auto, or of lists of them, got 'bf16'"),
        ("precisions=[float32,fp8]", "tf32, bf16, fp16, auto, or of lists of them, got 'fp8' in ['float32', 'fp8']"),
        ("precisions=[[bf16]]", "precision needs one value or 2, got ['bf16']"),
        ("compiles=[]", "compiles must be a list of names out of none, default, max, at least 1 of them, got []"),
        ("compiles=[none,fast]", "compiles must be a list of names out of none, default, max, got 'fast' in"),
        ("batch_sizes=[0]", "batch_sizes must be a list of whole numbers of 1 or more, got 0 in [0]"),
        ("fractions=[2]", "fractions must be a list of numbers from 0 to 1, or of lists of them"),
        ("stitch.counts=[1,49]", "so stitch.counts has no meaning in it"),
        ("stitch.timestep_boundaries=[500]", "so stitch.timestep_boundaries has no meaning in it"),
        ("residency=staged", "residency=staged loads weights anew for each batch"),
        ("experiment=typo", "unknown experiment 'typo'; known: fig11"),
        ("experiment=no-such.one", "unknown experiment 'no-such.one'; known: fig11"),
        ("experiment=fig8", "samplers is for scripts.sweep"),
    ],
)
def test_mistakes_end_before_networks_are_loaded(capfd, monkeypatch, argument: str, message: str) -> None:
    monkeypatch.setattr(experiments.latency, "load_networks", None)
    check_one_line(run_here(capfd, monkeypatch, "latency", "pair=digits_dit_s_xl", argument), message)


def test_points_carry_what_ran_and_the_residency(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    settings = ["pair=digits_dit_s_xl", "sampler.num_steps=4", "fractions=[0,0.1,0.3]", "batch_sizes=[2]", "repeats=1"]
    outcome = run_here(capfd, monkeypatch, "latency", *settings, "residency=swap", f"out={out}")
    assert outcome.code == 0, outcome.err
    result = json.loads(out.read_text())
    assert result["residency"] == "swap"
    points = result["batches"][0]["points"]
    assert [(point["fractions"], point["steps"]) for point in points] == [
        ([0, 1], [0, 4]), ([0.25, 0.75], [1, 3]), ([1, 0], [4, 0]),
    ]  # fmt: skip
    assert points[0]["asked"] == [[0, 1], [0.1, 0.9]]
    assert "0.25/0.75 (asked 0.3/0.7)" in outcome.out


def test_each_combination_of_modes_is_measured_as_one_alone(capfd, monkeypatch, tmp_path: Path) -> None:
    """The file replaces an earlier one of a single mode; auto is the same as one of the precisions beside it."""
    out = tmp_path / "latency.json"
    settings = ["pair=digits_dit_s_xl", "sampler.num_steps=2", "fractions=[0]", "batch_sizes=[2]", "repeats=1"]
    assert run_here(capfd, monkeypatch, "latency", *settings, f"out={out}").code == 0
    alone = json.loads(out.read_text())
    assert "modes" not in alone
    monkeypatch.setattr(experiments.latency, "matmul_tflops", lambda *_: 1.0)
    monkeypatch.setattr(sampling.plan, "check_compile_mode", lambda *_: None)  # nothing is compiled: no compiler needed
    compiled = []
    monkeypatch.setattr(models.placement.compiled, "compile_network", lambda *arguments: compiled.append(arguments[1]))
    lists = ["precisions=[float32,bf16,auto,[bf16,float32]]", "compiles=[max,none]"]
    outcome = run_here(capfd, monkeypatch, "latency", *settings, *lists, f"out={out}")
    assert outcome.code == 0, outcome.err
    result = json.loads(out.read_text())
    assert result.keys() == {"pair", "modes"}
    modes = [(mode["precision"], mode["compile"]) for mode in result["modes"]]
    assert modes == [(name, mode) for mode in ("none", "max") for name in ("float32", "bf16", "[bf16,float32]")]
    assert set(compiled) == {"max"}
    for mode in result["modes"]:
        assert mode.keys() == alone.keys()
        assert f"precision={mode['precision']} compile={mode['compile']}\n2 images at once" in outcome.out
        assert [point["fractions"] for point in mode["batches"][0]["points"]] == [[0, 1], [1, 0]]
    check_output(out, "a latency measurement")  # raises where it is taken for a file of another kind
    assert result["modes"][0]["denoisers"][0]["weights_mb"] == 2 * result["modes"][1]["denoisers"][0]["weights_mb"]


@pytest.mark.gpu
def test_swapped_networks_are_timed_swapped(capfd, monkeypatch, tmp_path: Path) -> None:
    found = {}
    for residency in ("both", "swap"):
        out = tmp_path / f"{residency}.json"
        settings = ["pair=digits_dit_s_xl", "sampler.num_steps=4", "fractions=[0.5]", "batch_sizes=[2]", "repeats=1"]
        outcome = run_here(capfd, monkeypatch, "latency", *settings, f"residency={residency}", f"out={out}")
        assert outcome.code == 0, outcome.err
        found[residency] = json.loads(out.read_text())["batches"][0]["points"][0]
    assert found["swap"]["resident_mb"] < found["both"]["resident_mb"]


def test_what_was_measured_is_kept_where_a_larger_batch_fails(capfd, monkeypatch, tmp_path: Path) -> None:
    measure, out = experiments.latency._measure_batch, tmp_path / "latency.json"

    def fails(*arguments: object) -> dict:
        if arguments[4] == 4:
            raise MemoryError
        return measure(*arguments)

    monkeypatch.setattr(experiments.latency, "_measure_batch", fails)
    settings = ["pair=digits_dit_s_xl", "sampler.num_steps=2", "fractions=[0.5]", "batch_sizes=[2,4]", "repeats=1"]
    outcome = run_here(capfd, monkeypatch, "latency", *settings, f"out={out}")
    assert outcome.code == 2, outcome.err
    assert [batch["batch_size"] for batch in json.loads(out.read_text())["batches"]] == [2]
