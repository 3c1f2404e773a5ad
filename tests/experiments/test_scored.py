"""Results are of the images, the reference and the extractor as they are now, whatever their paths and times say."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.scored import Scoring
from models.checkout import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

ZOO = ROOT / "models" / "zoo" / "digits"
TINY = ["num_images=16", "batch_size=8", "sampler.num_steps=2", "latency.repeats=1", "pair.evaluation.bootstrap=5"]


def swap(path: Path, content: bytes) -> None:
    """Other content under the same path, with the size of a file and its time as they were."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_reference(path: Path) -> bytes:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path.with_name("other.npz"), **{**arrays, "mu": arrays["mu"] + 1})
    return path.with_name("other.npz").read_bytes()


def other_extractor(path: Path) -> bytes:
    weights = {name: values * (1.1 if values.is_floating_point() else 1) for name, values in load_file(path).items()}
    save_file(weights, path.with_name("other.safetensors"), metadata=None)
    return path.with_name("other.safetensors").read_bytes()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A reference and an extractor of one's own, as overrides name them."""
    found = {"reference": tmp_path / "reference.npz", "extractor_weights": tmp_path / "classifier.safetensors"}
    shutil.copy(ZOO / "reference.npz", found["reference"])
    shutil.copy(ZOO / "classifier.safetensors", found["extractor_weights"])
    return found


def read(out: Path) -> dict[str, list]:
    """FIDs in `result.json`, `sweep.json` and `paired.json`, and all numbers that a comparison states."""
    points = json.loads((out / "sweep.json").read_text())["points"]
    runs = [(out / point["run"]).resolve() for point in points]
    return {
        "result": [json.loads((run / "result.json").read_text())["metrics"]["fid16"] for run in runs],
        "sweep": [point["metrics"]["fid16"] for point in points],
        "paired": [json.loads((run / "paired.json").read_text())["value"] for run in runs[1:]],
        "of the sweep": [point["paired"]["value"] for point in points[1:]],
    }


@pytest.mark.parametrize("changed", ["reference", "extractor_weights"])
def test_a_file_that_changed_under_its_path_gives_new_numbers(
    capfd, monkeypatch, tmp_path: Path, files: dict[str, Path], changed: str
) -> None:
    out = tmp_path / "sweep"
    settings = [*TINY, "fractions=[0,0.5]", *(f"pair.evaluation.{key}={path}" for key, path in files.items())]
    assert run_here(capfd, monkeypatch, "sweep", *settings, f"out={out}").code == 0
    before = read(out)
    runs = [out / point["run"] for point in json.loads((out / "sweep.json").read_text())["points"]]
    compared = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}").out
    content = other_reference(files[changed]) if changed == "reference" else other_extractor(files[changed])
    swap(files[changed], content)
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("have changed since result.json; scored anew") == 2
    stated = [line for line in outcome.out.splitlines() if line.startswith("fid16")]
    assert stated != [line for line in compared.splitlines() if line.startswith("fid16")]

    assert run_here(capfd, monkeypatch, "sweep", *settings, f"out={out}").code == 0
    after = read(out)
    for place, values in after.items():
        assert all(new != old for new, old in zip(values, before[place], strict=True)), place
    fresh = tmp_path / "fresh"
    assert run_here(capfd, monkeypatch, "sweep", *settings, f"out={fresh}").code == 0
    assert after == read(fresh)
    again = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}").out
    assert "scored anew" not in again
    assert [line for line in again.splitlines() if line.startswith("fid16")] == stated


def test_images_that_were_made_anew_are_scored_anew(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    settings = [*TINY, "fractions=[0,0.5]", f"out={out}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    before = read(out)
    run = out / json.loads((out / "sweep.json").read_text())["points"][1]["run"]
    shard = sorted((run / "shards").iterdir())[0]
    from tstitch.runs.run import load_run
    from tstitch.runs.shards import Shard, read_shard, write_shard

    own = load_run(run)
    images = read_shard(own.shards, own.blocks[0], own.id)
    write_shard(own.shards, own.blocks[0], Shard(255 - images.images, images.labels), own.id)
    assert shard.is_file()
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    after = read(out)
    assert after["sweep"][0] == before["sweep"][0]
    for place in ("result", "sweep"):
        assert after[place][1] != before[place][1]
    assert after["paired"] != before["paired"]


def test_what_an_earlier_version_left_is_made_again(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    settings = [*TINY, "fractions=[0,0.5]", f"out={out}"]
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    expected = read(out)
    for run in (out / "points").iterdir():
        (run / "latency.json").write_text('{"run_id": "0", "batch_size": 8, "repeats": 1, "seconds_per_image": 9}')
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps({"run_id": result["run_id"], "metrics": {}, "spread": {}}))
        if (run / "paired.json").is_file():
            (run / "paired.json").write_text("{}")
    assert run_here(capfd, monkeypatch, "sweep", *settings).code == 0
    assert read(out) == expected
    assert all(p["latency"]["seconds_per_image"] < 9 for p in json.loads((out / "sweep.json").read_text())["points"])

    sweep = json.loads((out / "sweep.json").read_text())
    del sweep["overrides"]
    (out / "sweep.json").write_text(json.dumps(sweep))
    for command in ("report", "table"):
        arguments = [f"sweep={out}", *(["name=table9", "pairs=digits"] if command == "table" else [])]
        outcome = run_here(capfd, monkeypatch, command, *arguments, f"out={tmp_path / command}")
        check_one_line(outcome, "sweep.json: overrides is missing; it must be a list of texts")


def test_latencies_of_another_machine_stay_and_are_not_in_the_table(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert run_here(capfd, monkeypatch, "sweep", *TINY, "fractions=[0]", f"out={out}").code == 0
        first = json.loads((out / "sweep.json").read_text())["points"][0]["latency"]
        torch.set_num_threads(2)
        outcome = run_here(capfd, monkeypatch, "sweep", *TINY, "fractions=[0,0.5]", f"out={out}")
        assert "at 2 points" in outcome.out, "the point that was timed with one thread is timed again"
        latencies = [point["latency"] for point in json.loads((out / "sweep.json").read_text())["points"]]
        assert {latency["machine"]["threads"] for latency in latencies} == {2}
        assert all(latency["machine"]["torch"] == torch.__version__ for latency in latencies)
        torch.set_num_threads(1)
        outcome = run_here(capfd, monkeypatch, "sweep", *TINY, "fractions=[0]", f"out={out}")
        assert "latency:" not in outcome.out
        assert json.loads((out / "sweep.json").read_text())["points"][0]["latency"] == first
    finally:
        torch.set_num_threads(threads)


def test_a_setting_of_the_clip_score_does_not_decide_a_result_without_it() -> None:
    """As of `scripts.sweep_prompts` with `metrics=[fid]`: what is recorded has no `clip`."""
    settings = {"extractor": "digits", "metrics": ["fid"], "clip": "weights/clip", "bootstrap": 0}
    scoring = Scoring(settings, {"extractor_sha256": "a"})
    result = {
        "asked": {"extractor": "digits", "metrics": ["fid"], "bootstrap": 0},
        "protocol": {"extractor_sha256": "a"},
    }
    assert scoring.is_of(result)
    both = Scoring({**settings, "metrics": ["fid", "clip_score"]}, scoring.protocol)
    assert not both.is_of(result)
    assert both.is_of({**result, "asked": {**settings, "metrics": ["fid", "clip_score"]}})
