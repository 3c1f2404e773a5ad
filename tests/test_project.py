"""The project's own promises: dependencies, the shipped zoo, the direction of the imports."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from safetensors import safe_open

from tests.conftest import ROOT
from tstitch.runs.digest import file_sha256

ZOO, FASHION = ROOT / "models/zoo/digits", ROOT / "models/zoo/fashion"
NETWORKS = ["classifier", "autoencoder/diffusion_pytorch_model", "dit_s", "dit_xl"]
MORE = ["dit_s_plain", "dit_b", "unet_s", "unet"]
CARDS = [*((ZOO, name) for name in NETWORKS), *((FASHION, name) for name in (*NETWORKS, *MORE))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {Requirement(line).name.lower().replace("_", "-"): Requirement(line).specifier for line in lines}
    assert all(str(specifier).startswith("==") for specifier in pins.values())
    wanted = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
    for requirement in map(Requirement, wanted):
        pinned = str(pins[requirement.name.lower()]).removeprefix("==")
        assert requirement.specifier.contains(pinned, prereleases=True), requirement
    assert not any("@" in line or "://" in line or line.startswith("-") for line in lines)


def test_conda_environment_installs_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    extras = ",".join(name for name in PROJECT["optional-dependencies"] if name != "slurm")
    assert packages["pip"] == ["-c constraints.txt", f"-e .[{extras}]"]


@pytest.mark.parametrize(("zoo", "name"), CARDS, ids=lambda own: own if isinstance(own, str) else own.name)
def test_shipped_weights_have_their_card(zoo: Path, name: str) -> None:
    weights = zoo / f"{name}.safetensors"
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(weights)
    assert card["command"].startswith("python -m scripts.train recipe=")
    for key in ("seed", "images_seen", "seconds", "loss", "parameters"):
        assert key in card
    assert card["images_seen"] > 0
    if name.startswith(("dit", "unet")):
        with safe_open(weights, "pt") as file:
            assert {file.get_tensor(key).dtype.itemsize for key in file.keys()} == {2}  # noqa: SIM118


def test_the_classifier_of_fashion_is_good_enough_to_score_with() -> None:
    card = json.loads((FASHION / "classifier.json").read_text())
    assert card["held_out_accuracy"] > 0.92
    assert card["reference_sha256"] == file_sha256(FASHION / "reference.npz")
    assert sum(path.stat().st_size for path in FASHION.rglob("*") if path.is_file()) < 25e6


CALIBRATIONS = sorted((ROOT / "models/zoo/calibration").glob("*.json"))


@pytest.mark.parametrize("path", CALIBRATIONS, ids=lambda path: path.stem)
def test_calibrations_are_of_the_shipped_weights(path: Path) -> None:
    identity = json.loads(path.read_text())["identity"]
    data = identity["pair"].partition("_")[0]
    assert identity["pair"] == path.stem
    assert len(identity["denoisers"]) == 2
    for name, denoiser in identity["denoisers"].items():
        weights = ROOT / "models/zoo" / data / f"{name.removeprefix(f'{data}_')}.safetensors"
        assert denoiser["sha256"] == file_sha256(weights)


def test_the_zoo_is_small() -> None:
    sizes = {path.relative_to(ZOO): path.stat().st_size for path in ZOO.rglob("*") if path.is_file()}
    assert sum(size for path, size in sizes.items() if not path.name.startswith("unet")) < 25e6
    assert sum(sizes.values()) < 30e6
    assert max(sizes.values()) < 20e6


def test_the_reference_data_are_complete_and_small() -> None:
    folder = ROOT / "tests/reference"
    assert {path.stem for path in folder.glob("*.safetensors")} == {path.stem for path in folder.glob("*.json")}
    assert {"dit", "ldm", "evaluation"} <= {path.stem for path in folder.glob("*.json")}
    assert max(path.stat().st_size for path in folder.iterdir()) < 20e6


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_wheel_ships_the_library_alone() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tstitch").rglob("*.py")}
    assert sorted(packages) == sorted(str(folder).replace("/", ".") for folder in folders)


def test_every_make_target_documents_itself() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "lint", "zoo"):
        assert f"make {target}" in shown


def test_where_the_same_bytes_are_promised_the_exception_is_named() -> None:
    """With compile=max each process on a GPU picks its kernels."""
    promise = r"(byte for byte|same checksum|bytes are the same).{0,1200}compile=max`? on a GPU"
    for path in ("README.md", "docs/scale.md", "configs/sample.yaml"):
        assert re.search(promise, " ".join((ROOT / path).read_text().split())), path


def test_the_readme_shows_the_loop_as_it_is() -> None:
    shown = (ROOT / "README.md").read_text().partition("## The idea\n")[2].split("```")[1].splitlines()[1:]
    switch = "return partial(ask, self.allocation[step.index])"
    assert switch in (ROOT / "README.md").read_text() and switch in (ROOT / "tstitch/router.py").read_text()
    code = iter(line.strip() for line in (ROOT / "tstitch/sample.py").read_text().splitlines())
    assert shown and all(line.strip() in code for line in shown)  # in this order


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ZOO.glob("*.md"), *FASHION.glob("*.md")]
)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_and_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for path in re.findall(
        r"`((?:tstitch|checkpoints|models|sampling|evaluation|experiments|training|scripts|tests)/[\w/.]+)`", text
    ):
        assert (ROOT / path).exists(), path
