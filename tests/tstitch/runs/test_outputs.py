"""An output replaces neither an input nor a file of another kind: exit code 2, and every byte stays."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import zeros

from tests.conftest import ROOT
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json

TINY = ["num_images=8", "batch_size=8", "sampler.num_steps=2", "fractions=[0,1]", "latency.repeats=1"]
CLASSIFIER = ROOT / "models/zoo/digits/classifier.safetensors"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A sweep of two points and the results of their evaluations."""
    out = tmp_path_factory.mktemp("outputs") / "sweep"
    tiny = [*TINY, "pair.evaluation.bootstrap=2"]
    assert run(*PYTHON, "-m", "scripts.sweep", *tiny, f"out={out}").code == 0
    return out


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "sweep"))


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}


def refused(capfd, monkeypatch, place: Path, message: str, name: str, *arguments: str) -> None:
    before = contents(place)
    check_one_line(run_here(capfd, monkeypatch, name, *arguments), message)
    assert contents(place) == before


FILES = ["samples.npz", "run.json", "shards/00000000-00000008.npz", "shards"]


@pytest.mark.parametrize("file", FILES)
def test_files_of_a_run_are_not_replaced(capfd, monkeypatch, sweep: Path, file: str) -> None:
    point = next((sweep / "points").iterdir())
    target = point / file
    reason = "is a directory" if file == "shards" else "is there and is not"
    refused(capfd, monkeypatch, sweep, reason, "evaluate", f"run={point}", f"out={target}")
    refused(capfd, monkeypatch, sweep, reason, "latency", "fractions=[0]", "repeats=1", f"out={target}")
    refused(capfd, monkeypatch, sweep, reason, "report", f"sweep={sweep}", f"out={target}")


@pytest.mark.parametrize("file", ["sweep.json", "sweep.csv", "curve.png"])
def test_files_of_a_sweep_are_not_replaced_by_its_page(capfd, monkeypatch, sweep: Path, file: str) -> None:
    arguments = [f"sweeps=[{sweep}]", f"out={sweep / file}"]
    refused(capfd, monkeypatch, sweep, "is there and is not", "report", *arguments)


def test_the_markdown_page_replaces_no_other_file(capfd, monkeypatch, sweep: Path) -> None:
    (sweep / "report.md").write_text("# My thesis")
    refused(capfd, monkeypatch, sweep, "report.md is there and is not", "report", f"sweep={sweep}")
    target = sweep / "page.md"
    refused(capfd, monkeypatch, sweep, "the name of the HTML page", "report", f"sweep={sweep}", f"out={target}")


def test_an_output_below_a_file_is_one_line(capfd, monkeypatch, sweep: Path) -> None:
    target = sweep / "sweep.json" / "report.html"
    refused(capfd, monkeypatch, sweep, "sweep.json is a file", "report", f"sweep={sweep}", f"out={target}")


def test_a_links_target_is_the_input_it_is(capfd, monkeypatch, sweep: Path, tmp_path: Path) -> None:
    images = next((sweep / "points").iterdir()) / "samples.npz"
    (tmp_path / "link.npz").symlink_to(images)
    arguments = [f"samples={images}", "extractor=digits", f"out={tmp_path / 'link.npz'}"]
    refused(capfd, monkeypatch, tmp_path, "is read by this command", "evaluate", *arguments)


@pytest.mark.parametrize("kind", ["a table", "an analysis", "a sweep"])
def test_other_files_in_a_directory_are_not_replaced(capfd, monkeypatch, tmp_path: Path, kind: str) -> None:
    name, foreign, arguments = {
        "a table": ("table", ["table4.md", "table4.csv"], ["name=table4"]),
        "an analysis": ("analyse", ["error.json", "error.png"], ["analysis=error", "num_images=2", "fractions=[0,1]"]),
        "a sweep": ("sweep", ["sweep.json", "strip.png"], TINY),
    }[kind]
    for file in foreign:
        place = tmp_path / file
        place.mkdir()
        (place / file).write_text("precious")
        refused(capfd, monkeypatch, place, f"{file} is there", name, *arguments, f"out={place}")


def reference_command(*arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-m", "scripts.reference", "make", *map(str, arguments), "--extractor", "digits")


@pytest.mark.long
def test_a_reference_does_not_replace_its_images_or_a_published_one(tmp_path: Path) -> None:
    images = tmp_path / "images.npz"
    np.savez(images, arr_0=np.zeros((4, 32, 32, 3), np.uint8), mu=np.zeros(64), sigma=np.eye(64), extractor="digits")
    before = images.read_bytes()
    weights = ("--extractor-weights", str(CLASSIFIER))
    check_one_line(run(*reference_command(images, images), *weights), "is read by this command")
    published = tmp_path / "VIRTUAL.npz"
    np.savez(published, mu=np.zeros(64), sigma=np.eye(64))
    check_one_line(run(*reference_command(images, published), *weights), "is there and is not a reference")
    assert images.read_bytes() == before


def test_converted_weights_do_not_replace_other_files(tmp_path: Path) -> None:
    source, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file({"x": zeros(2)}, source)
    other.write_text("precious")
    convert = (*PYTHON, "-m", "scripts.weights", "convert", str(source))
    check_one_line(run(*convert, str(source)), "is read by this command")
    check_one_line(run(*convert, str(other)), "is there and is not converted weights")
    assert other.read_text() == "precious"


@pytest.mark.long
def test_an_earlier_output_of_the_same_kind_is_replaced(capfd, monkeypatch, sweep: Path, tmp_path: Path) -> None:
    point = next((sweep / "points").iterdir())
    commands = {
        "evaluate": [f"run={point}", "bootstrap=0", f"out={tmp_path / 'result.json'}"],
        "report": [f"sweep={sweep}"],
        "analyse": ["analysis=error", "num_images=2", "fractions=[0,1]", f"out={tmp_path / 'analysis'}"],
        "table": ["name=table4", f"out={tmp_path / 'tables'}"],
        "sweep": [*TINY, "pair.evaluation.bootstrap=2", f"out={sweep}"],
        "latency": [
            "fractions=[0]",
            "repeats=1",
            "batch_sizes=[1]",
            "sampler.num_steps=1",
            f"out={tmp_path / 'l.json'}",
        ],
    }
    for name, arguments in commands.items():
        for _ in range(2):
            outcome = run_here(capfd, monkeypatch, name, *arguments)
            assert outcome.code == 0, (name, outcome.err)
    target = tmp_path / "reference.npz"
    for _ in range(2):
        outcome = run(*reference_command(point / "samples.npz", target), "--extractor-weights", str(CLASSIFIER))
        assert outcome.code == 0, outcome.err


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(UserError, match=r"run\.json is no regular file"):
        read_json(tmp_path / "run.json")
