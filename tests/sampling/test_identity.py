"""A run's identity holds everything that decides the images: each setting is changed in turn."""

import json
import shutil
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from models.checkout import CONFIG_DIR
from sampling.configuration import plain
from sampling.identity import FOLLOWING, WITHOUT_EFFECT
from sampling.plan import Plan, make_plan
from settings.check import check_settings
from tests.conftest import ROOT
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.runs.run import identity_hash

ZOO = ROOT / "models/zoo/digits"
PAIRS = ("digits_dit_s_xl", "fashion_unet_s_l")
# Settings that no image depends on, or that come with others, and why.
WITHOUT_IMAGES = {
    "out": "a place",
    "dry_run": "makes nothing",
    "tflops": "of an estimate",
    "residency": "a place in memory",
    "pair.evaluation": "of scores",
    "pair.data": "a name in tables",
    "pair.name": "a name",
    "pair.autoencoder.name": "a name",
    "match": "of denoisers of other schedules: tests/sampling/test_matched.py",
    "pair.denoisers.*.family": "has settings of its own",
    "pair.fractions": "stitch.fractions has them",
    "pair.guidance_scale": "guidance.scale has it",
    "pair.guidance_channels": "guidance.channels has them",
    "pair.grid": "sampler.grid has it",
    "router.kind": "has settings of its own: tests/sampling/test_routing.py",
    "allocation.rule": "the allocation has it, which two rules may share",
    "pair.denoisers.*.path": "by checksum: a test of its own",
    "pair.autoencoder.path": "by checksum: a test of its own",
    "device": "by what it means here",
}
# Another value that a run accepts, where one cannot be made from the value alone.
OTHER_VALUES = {
    "sampler.name": "plms",
    "sampler.grid": "ddim_stride",
    "sampler.history": "reset",
    "sampler.num_steps": 25,
    "stitch.fraction": 0.2,
    "stitch.fractions": [0.2, 0.8],
    "stitch.counts": [1, 49],
    "stitch.denoiser_per_step": [0, *[1] * 49],
    "stitch.timestep_boundaries": [900],
    "stitch.log_snr_boundaries": [-7],
    "allocation.order": "large_to_small",
    "guidance.scale": 1.3,
    "guidance.channels": 2,
    "labels": "balanced",
    "precision": "bf16",
    "autoencoder_precision": "bf16",
    "compile": "default",
    "pair.autoencoder.kind": "vq",
}
KINDS_OF_SCHEDULES = {"linear": "scaled_linear", "scaled_linear": "linear"}


def settings_of(pair: str) -> dict:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return plain(compose("sample", [f"pair={pair}", "sampler.num_steps=50"]))


# Sizes of a network that must divide others, and what still does.
FITTING = {
    **dict.fromkeys(
        ("input_size", "patch_size", "hidden_size", "num_heads", "model_channels"), lambda value: 2 * value
    ),
    **dict.fromkeys(("num_head_channels", "norm_num_groups"), lambda value: value // 2),
    "num_train_timesteps": lambda value: value + 100,
}


def leaves(settings: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(settings, dict):
        return [path]
    return [leaf for key, value in settings.items() for leaf in leaves(value, (*path, key))]


def other_value(path: str, value: object) -> object:
    if path.endswith("schedule.kind"):
        return KINDS_OF_SCHEDULES[value]
    if path.endswith(".prediction"):
        return "v"
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    if isinstance(value, bool):
        return not value
    key = path.rpartition(".")[2]
    if key in FITTING:
        return FITTING[key](value)
    return {
        int: lambda: value + 1,
        float: lambda: 1.5 * value + 0.001,
        str: lambda: f"{value}_2",
        list: lambda: [*value, 8],
    }[type(value)]()


def changed(settings: dict, path: tuple[str, ...]) -> dict:
    """The settings with another value at a path."""
    copy = json.loads(json.dumps(settings))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = other_value(".".join(path), node[path[-1]])
    return copy


def identity(settings: dict) -> str:
    return identity_hash(make_plan(check_settings("sample", settings)).identity("cpu"))


def decides_images(path: tuple[str, ...]) -> bool:
    dotted = ".".join(path)
    return not any(fnmatch(dotted, name) or dotted.startswith(f"{name}.") for name in WITHOUT_IMAGES)


CASES = [(pair, path) for pair in PAIRS for path in leaves(settings_of(pair)) if decides_images(path)]


@pytest.mark.parametrize(("pair", "path"), CASES, ids=[".".join((pair, *path)) for pair, path in CASES])
def test_every_setting_that_decides_images_changes_the_identity(pair: str, path: tuple[str, ...], monkeypatch) -> None:
    """Settings of networks need not fit the weights here: the identity must differ before they are tried."""
    monkeypatch.setattr("sampling.plan.check_denoisers", lambda specs: None)  # both networks would have to change
    settings = settings_of(pair)
    assert identity(changed(settings, path)) != identity(settings)


@pytest.mark.parametrize("path", ["pair.evaluation.bootstrap", "residency", "out", "dry_run", "tflops"])
def test_settings_without_effect_keep_the_identity(path: str, tmp_path: Path) -> None:
    settings = settings_of(PAIRS[0])
    values = {"residency": "staged", "out": str(tmp_path), "dry_run": True, "tflops": 100, "bootstrap": 7}
    copy = json.loads(json.dumps(settings))
    node = copy["pair"]["evaluation"] if path.startswith("pair") else copy
    node[path.rpartition(".")[2]] = values[path.rpartition(".")[2]]
    copy["dry_run"] = copy["dry_run"] or path == "tflops"  # it is of an estimate
    assert identity(copy) == identity(settings)


def test_a_field_of_a_plan_is_part_of_the_identity_unless_it_is_excepted() -> None:
    known = {field.name for field in fields(Plan)}
    assert {*WITHOUT_EFFECT, *FOLLOWING} <= known
    assert set(FOLLOWING.values()) <= known - {*WITHOUT_EFFECT, *FOLLOWING}


@pytest.mark.parametrize("what", ["weights", "autoencoder", "scaling_factor"])
def test_other_files_at_the_same_path_are_another_run(tmp_path: Path, what: str) -> None:
    weights, folder = tmp_path / "dit_s.safetensors", tmp_path / "autoencoder"
    shutil.copy(ZOO / "dit_s.safetensors", weights)
    shutil.copytree(ZOO / "autoencoder", folder)
    settings = settings_of(PAIRS[0])
    settings["pair"]["denoisers"]["s"]["path"] = str(weights)
    settings["pair"]["autoencoder"]["path"] = str(folder)
    before = identity(settings)
    if what == "scaling_factor":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    else:
        path = weights if what == "weights" else folder / "diffusion_pytorch_model.safetensors"
        state = load_file(path)
        first = next(iter(state))
        save_file({**state, first: state[first] + 1}, path)
    assert identity(settings) != before


def test_moved_weights_are_the_same_run(tmp_path: Path) -> None:
    settings, moved = settings_of(PAIRS[0]), settings_of(PAIRS[0])
    shutil.copy(ZOO / "dit_s.safetensors", tmp_path / "elsewhere.safetensors")
    moved["pair"]["denoisers"]["s"]["path"] = str(tmp_path / "elsewhere.safetensors")
    assert identity(moved) == identity(settings)


def test_another_schedule_is_refused_in_the_directory_and_gives_other_images(capfd, monkeypatch, tmp_path) -> None:
    small = ["stitch.fractions=[1,0]", "num_images=2", "batch_size=2", "sampler.num_steps=2"]
    assert run_here(capfd, monkeypatch, "sample", *small, f"out={tmp_path / 'a'}").code == 0
    other = "pair.schedule.beta_end=0.03"
    outcome = run_here(capfd, monkeypatch, "sample", *small, other, f"out={tmp_path / 'a'}")
    check_one_line(outcome, "schedule.beta_end (0.02 there, 0.03 here)")
    assert run_here(capfd, monkeypatch, "sample", *small, other, f"out={tmp_path / 'b'}").code == 0
    first, second = (np.load(tmp_path / name / "samples.npz")["arr_0"] for name in ("a", "b"))
    assert not np.array_equal(first, second)


def test_the_record_is_readable(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = ["stitch.fractions=[0.5,0.5]", "num_images=2", "batch_size=2", "sampler.num_steps=50"]
    assert run_here(capfd, monkeypatch, "sample", *settings, f"out={tmp_path / 'out'}").code == 0
    text = (tmp_path / "out" / "run.json").read_text()
    assert f'"allocation": [{", ".join(["0"] * 25 + ["1"] * 25)}]' in text
    assert text.count("\n") < 150
