"""Scoring images as a user does: runs, files and folders, references, comparisons, ranks."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from torch.utils.data import TensorDataset

import experiments.evaluation
from evaluation.metrics.extractors import Extractor, load_extractor
from evaluation.metrics.sources import open_source
from experiments.evaluation import load_evaluation
from tests.conftest import ROOT
from tests.evaluation.inception import make_inception
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.ranks import Ranks

ZOO = ROOT / "models/zoo/digits"
DIGITS = ["extractor=digits"]
ONE_RANK = Ranks(0, 1, 0, 1)


class Bytes(TensorDataset):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: np.ndarray):
        super().__init__(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())

    def __getitem__(self, index: int) -> torch.Tensor:
        return super().__getitem__(index)[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs with the same noise: the small model alone, and one step of it."""
    directories = [tmp_path_factory.mktemp("runs") / name for name in ("small", "stitched")]
    for directory, fractions in zip(directories, ("[1,0]", "[0.25,0.75]"), strict=True):
        settings = [f"stitch.fractions={fractions}", "sampler.num_steps=4", "num_images=60", "batch_size=20"]
        assert run(*PYTHON, "-m", "scripts.sample", *settings, f"out={directory}").code == 0
    return directories


@pytest.mark.long
def test_a_run_is_scored_with_its_own_settings_and_the_features_are_kept(capfd, monkeypatch, runs: list[Path]) -> None:
    outcome = run_here(capfd, monkeypatch, "evaluate", f"run={runs[0]}")
    assert outcome.code == 0, outcome.err
    assert "fid60: " in outcome.out
    assert "(95%: " in outcome.out
    result = json.loads((runs[0] / "result.json").read_text())
    low, high = result["spread"]["fid60"]["interval95"]
    assert low < result["metrics"]["fid60"] < high
    assert result["protocol"]["seed"] == 0
    assert result["protocol"]["reference_num_images"] == 5000

    def fail(*_: object) -> None:
        raise AssertionError("features are extracted twice")

    monkeypatch.setattr(Extractor, "__call__", fail)
    more = ["metrics=[fid,precision,recall,kid,inception_score_ten_splits]", f"out={runs[0] / 'more.json'}"]
    outcome = run_here(capfd, monkeypatch, "evaluate", f"run={runs[0]}", *more)
    assert outcome.code == 0, outcome.err
    found = json.loads((runs[0] / "more.json").read_text())["metrics"]
    assert found["fid60"] == result["metrics"]["fid60"]
    assert found.keys() == {
        "fid60", "precision", "recall", "kid60", "kid60_std", "inception_score_ten_splits",
        "inception_score_ten_splits_std",
    }  # fmt: skip
    assert 0 < found["precision"] <= 1


@pytest.mark.long
def test_the_same_images_score_the_same_from_a_file_a_folder_and_two_ranks(tmp_path: Path, runs: list[Path]) -> None:
    with np.load(runs[0] / "samples.npz") as file:
        images = file["arr_0"]
    folder = tmp_path / "pngs"
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    scores = []
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for command, samples in ((PYTHON, runs[0] / "samples.npz"), (PYTHON, folder), (launcher, runs[0])):
        out = tmp_path / f"{len(scores)}.json"
        settings = [f"samples={samples}", *DIGITS, "metrics=[fid,inception_score,recall]", f"out={out}", "batch_size=7"]
        outcome = run(*command, "-m", "scripts.evaluate", *settings)
        assert outcome.code == 0, outcome.err
        scores.append(json.loads(out.read_text())["metrics"])
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], rel=1e-5)


def test_two_runs_of_the_same_noise_are_compared(capfd, monkeypatch, runs: list[Path]) -> None:
    for directory in runs:
        assert run_here(capfd, monkeypatch, "evaluate", f"run={directory}").code == 0
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[1]}", f"b={runs[0]}")
    assert outcome.code == 0, outcome.err
    assert "protocol: allocation ([0, 1, 1, 1] in a, [0, 0, 0, 0] in b)" in outcome.out
    assert "b against a: FID " in outcome.out
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[1]}", f"b={runs[0] / 'result.json'}")
    assert "b against a" not in outcome.out
    check_one_line(run_here(capfd, monkeypatch, "compare", "a=nowhere", "b=nowhere"), "nowhere does not exist")


@pytest.mark.long
def test_a_reference_made_here_serves_the_evaluation(tmp_path: Path, runs: list[Path]) -> None:
    reference = tmp_path / "reference.npz"
    weights = ["--extractor", "digits", "--extractor-weights", str(ZOO / "classifier.safetensors")]
    made = run(*PYTHON, "-m", "scripts.reference", "make", str(runs[0]), str(reference), *weights)
    assert made.code == 0, made.err
    assert "images: 60" in made.out
    assert "pixels: (32, 32)" in made.out
    settings = [f"reference={reference}", "metrics=[fid,precision,recall]", f"out={tmp_path / 'out.json'}"]
    assert run(*PYTHON, "-m", "scripts.evaluate", f"run={runs[0]}", *settings).code == 0
    found = json.loads((tmp_path / "out.json").read_text())["metrics"]
    assert found["fid60"] == pytest.approx(0, abs=1e-6)
    assert (found["precision"], found["recall"]) == (1, 1)


@pytest.mark.long
def test_a_reference_of_images_alone_serves_as_its_statistics(capfd, monkeypatch, tmp_path, runs) -> None:
    monkeypatch.setattr(experiments.evaluation, "CACHE", tmp_path / "features")
    with np.load(runs[1] / "samples.npz") as file:
        np.savez(tmp_path / "images.npz", file["arr_0"])
    shown = run(*PYTHON, "-m", "scripts.reference", "show", str(tmp_path / "images.npz"))
    assert "features: none; an evaluation computes them from the images" in shown.out
    weights = ["--extractor", "digits", "--extractor-weights", str(ZOO / "classifier.safetensors")]
    made = run(*PYTHON, "-m", "scripts.reference", "make", str(runs[1]), str(tmp_path / "made.npz"), *weights)
    assert made.code == 0, made.err
    found = []
    for reference in ("images.npz", "made.npz"):
        settings = [f"reference={tmp_path / reference}", "metrics=[fid,precision,kid]", f"out={tmp_path / 'out.json'}"]
        outcome = run_here(capfd, monkeypatch, "evaluate", f"samples={runs[0] / 'samples.npz'}", *DIGITS, *settings)
        assert outcome.code == 0, outcome.err
        found.append(json.loads((tmp_path / "out.json").read_text()))
    assert found[0]["metrics"] == pytest.approx(found[1]["metrics"], rel=1e-6)
    stds = [result["spread"]["fid60"]["std"] for result in found]
    assert stds[0] == pytest.approx(stds[1], rel=1e-6)
    assert found[0]["protocol"]["reference_num_images"] == 60


@pytest.mark.long
def test_a_reference_of_images_has_spatial_statistics(monkeypatch, tmp_path: Path) -> None:
    """Alone, and beside `mu` and `sigma`."""
    torch.manual_seed(0)
    make_inception(tmp_path / "inception.pth")
    monkeypatch.setattr(experiments.evaluation, "CACHE", tmp_path / "features")
    rng = np.random.default_rng(0)
    sets = [rng.integers(256, size=(6, 16, 16, 3), dtype=np.uint8) for _ in range(2)]
    np.savez(tmp_path / "samples.npz", sets[0])
    np.savez(tmp_path / "alone.npz", sets[1])
    settings = {
        "metrics": ["fid", "sfid"], "bootstrap": 0, "batch_size": 8, "extractor": "inception",
        "extractor_weights": str(tmp_path / "inception.pth"), "reference": str(tmp_path / "alone.npz"),
    }  # fmt: skip
    alone = load_evaluation(settings, torch.device("cpu"))
    assert alone.reference.spatial.num == 6
    np.savez(tmp_path / "both.npz", sets[1], mu=alone.reference.pool.mu, sigma=alone.reference.pool.sigma)
    both = load_evaluation({**settings, "reference": str(tmp_path / "both.npz")}, torch.device("cpu"))
    source = open_source(tmp_path / "samples.npz")
    metrics = [evaluation.result(source, ONE_RANK)["metrics"] for evaluation in (alone, both)]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-6)
    assert metrics[0]["sfid6"] > 0


def test_damaged_samples_do_not_get_the_sound_files_score(capfd, monkeypatch, tmp_path: Path, runs) -> None:
    """The features of the sound file are in the cache; one byte of an image is another, the checksum is as it was."""
    path = tmp_path / "samples.npz"
    path.write_bytes((runs[0] / "samples.npz").read_bytes())
    settings = [f"samples={path}", *DIGITS, f"out={tmp_path / 'out.json'}"]
    assert run_here(capfd, monkeypatch, "evaluate", *settings).code == 0
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    check_one_line(run_here(capfd, monkeypatch, "evaluate", *settings), "samples.npz: arr_0 is damaged (Bad CRC-32")


def test_what_cannot_be_scored_is_one_line(capfd, monkeypatch, tmp_path: Path, runs: list[Path]) -> None:
    np.savez(tmp_path / "wide.npz", np.zeros((3, 16, 64, 3), np.uint8))
    np.savez(tmp_path / "float.npz", np.zeros((3, 32, 32, 3), np.float32))
    np.savez(tmp_path / "plain.npz", mu=np.zeros(64), sigma=np.eye(64))
    np.savez(tmp_path / "negative.npz", mu=np.zeros(64), sigma=-np.eye(64))
    for arguments, message in [
        ([], "give one of run=DIR (a run of ours) and samples=FILE_OR_DIR"),
        ([f"samples={runs[0]}", *DIGITS, "metrics=[fid,psnr]"], "fd_dinov2, clip_score, got 'psnr' in ['fid', 'psnr']"),
        ([f"samples={runs[0]}", *DIGITS, "metrics=[sfid]"], "sfid needs Inception's spatial features; digits has none"),
        ([f"samples={runs[0]}", *DIGITS, "metrics=[fd_dinov2]"], "fd_dinov2 needs extractor=dinov2, got digits"),
        ([f"samples={tmp_path / 'wide.npz'}", *DIGITS], "wide.npz has images of (16, 64) pixels, reference "),
        ([f"samples={tmp_path / 'float.npz'}", *DIGITS], "arr_0 is float32; images must be bytes (uint8), 0..255"),
        ([f"run={runs[0]}", "bootstrap=-1"], "bootstrap must be a whole number of 0 or more, got -1"),
        ([f"run={runs[0]}", "extractor_weights=none.pth"], "none.pth of the extractor digits do not exist"),
        (
            [f"samples={runs[0]}", f"reference={tmp_path / 'plain.npz'}", *DIGITS, "metrics=[recall]"],
            "recall needs the reference's features or images",
        ),
        ([f"samples={runs[0]}", f"reference={tmp_path / 'negative.npz'}", *DIGITS], "sigma is no covariance"),
        ([f"samples={runs[0]}", "extractor=inception"], "weights-inception-2015-12-05-6726825d.pth do not exist"),
    ]:
        check_one_line(run_here(capfd, monkeypatch, "evaluate", *arguments), message)


@pytest.mark.long
def test_fid_inception_score_and_kid_equal_torch_fidelity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, rng = tmp_path / "inception.pth", np.random.default_rng(0)
    make_inception(weights)
    sets = [rng.integers(256, size=(12, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2) for _ in range(2)]
    for name, images in zip(("samples", "real"), sets, strict=True):
        np.savez(tmp_path / f"{name}.npz", images)
    made = run(
        *PYTHON, "-m", "scripts.reference", "make", str(tmp_path / "real.npz"), str(tmp_path / "reference.npz"),
        "--extractor-weights", str(weights),
    )  # fmt: skip
    assert made.code == 0, made.err
    theirs = torch_fidelity.calculate_metrics(
        input1=Bytes(sets[0]), input2=Bytes(sets[1]), feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights), isc=True, fid=True, kid=True, kid_subset_size=12, batch_size=5,
        cuda=False, save_cpu_ram=True, verbose=False, cache=False,
    )  # fmt: skip
    settings = {
        "metrics": ["fid", "sfid", "inception_score_ten_splits", "kid"], "bootstrap": 0, "batch_size": 7,
        "extractor": "inception", "extractor_weights": str(weights), "reference": str(tmp_path / "reference.npz"),
    }  # fmt: skip
    evaluation = load_evaluation(settings, torch.device("cpu"))
    ours = evaluation.result(open_source(tmp_path / "samples.npz"), ONE_RANK)["metrics"]
    assert ours["fid12"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    # torch-fidelity computes it in float32.
    assert ours["kid12"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5, abs=1e-7)
    assert ours["inception_score_ten_splits"] == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert ours["sfid12"] > 0


def test_labels_sorted_by_class_are_permuted_with_a_warning(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    scores = {}
    for name, labels in {"sorted": np.arange(40) // 4, "mixed": np.arange(40) % 10}.items():
        np.savez(tmp_path / f"{name}.npz", images, labels)
        evaluation = load_evaluation(
            {
                "metrics": ["inception_score"], "bootstrap": 0, "batch_size": 8, "extractor": "digits",
                "extractor_weights": str(ZOO / "classifier.safetensors"), "reference": str(ZOO / "reference.npz"),
            },
            torch.device("cpu"),
        )  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores[name] = evaluation.result(open_source(tmp_path / f"{name}.npz"), ONE_RANK)["metrics"]
        assert any("sorted by class" in str(warning.message) for warning in caught) == (name == "sorted")
    assert scores["sorted"] == pytest.approx(scores["mixed"])


def test_the_batch_size_does_not_matter(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(50, 32, 32, 3), dtype=np.uint8)
    extractor = load_extractor("digits", ZOO / "classifier.safetensors", torch.device("cpu"))
    whole = extractor(images).pool
    for size in (1, 7, 32):
        parts = np.concatenate([extractor(images[start : start + size]).pool for start in range(0, 50, size)])
        assert np.allclose(parts, whole, rtol=1e-5, atol=1e-5)
