"""`python -m scripts.weights` as a user types it, and what commands say that lack a file."""

import json
from pathlib import Path

import pytest
import yaml

from cli.command import guarded
from models.checkout import CONFIG_DIR
from models.weights import catalog
from scripts import weights
from tests.scripts.command import PYTHON, Outcome, run, run_here
from tests.serving import Published, served
from tstitch.runs import progress

REFERENCE, INCEPTION = "imagenet256_reference", "inception"
FILES = {name: entry["files"][0] for name, entry in yaml.safe_load((CONFIG_DIR / "weights.yaml").read_text()).items()}


def contents(*names: str) -> dict[str, bytes]:
    """Small contents for the addresses of all files of entries, as a mirror has them; Drive's by their id."""
    entries = yaml.safe_load((CONFIG_DIR / "weights.yaml").read_text())
    files = [file for name in names for file in entries[name]["files"]]
    return {file["url"].removeprefix("https:/").partition("/drive.google.com/uc?id=")[2] or
            file["url"].removeprefix("https:/"): file["file"].encode() for file in files}  # fmt: skip


def command(capfd, *arguments: str) -> Outcome:
    code = 0
    try:
        guarded(weights.main)(weights.make_parser().parse_args(arguments))
    except SystemExit as stop:
        code = stop.code
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


@pytest.fixture
def without_known_sizes(monkeypatch, tmp_path_factory):
    """The manifest without sizes and checksums, for contents that are not the published ones."""
    real = yaml.safe_load((CONFIG_DIR / "weights.yaml").read_text())
    for entry in real.values():
        entry["files"] = [{k: v for k, v in f.items() if k not in ("size", "sha256")} for f in entry["files"]]
    manifest = tmp_path_factory.mktemp("manifest") / "weights.yaml"
    manifest.write_text(yaml.safe_dump(real))
    monkeypatch.setattr(catalog, "MANIFEST", manifest)


def test_a_pair_is_fetched_with_its_evaluation_and_verified(capfd, tmp_path: Path, without_known_sizes) -> None:
    names = ["dit_s_256", "dit_xl_256", "sd_vae_ft_ema", REFERENCE, INCEPTION]
    place = ["--directory", str(tmp_path)]
    with served(Published(contents(*names))) as mirror:
        outcome = command(capfd, "fetch", "pair=dit_s_xl", *place, "--mirror", mirror)
    assert outcome.code == 0, outcome.err
    for file in ("dit_s_256.pt", "sd-vae-ft-ema/config.json", "VIRTUAL_imagenet256_labeled.npz"):
        assert (tmp_path / file).read_bytes() == file.encode()
    assert len(json.loads((tmp_path / "checksums.json").read_text())) == 6
    assert command(capfd, "verify", "pair=dit_s_xl", *place).out.count("sha256") == 6
    (tmp_path / "dit_s_256.pt").write_bytes(b"damaged")
    damaged = command(capfd, "verify", "pair=dit_s_xl", *place)
    assert damaged.code == 2
    assert damaged.out.count("sha256") == 5
    assert "dit_s_256.pt has sha256" in damaged.err


def test_sizes_and_licenses_come_before_the_first_download(capfd, tmp_path: Path) -> None:
    published = Published(contents("dit_s_256", "sd_vae_ft_ema"))
    with served(published) as mirror:
        outcome = command(
            capfd, "fetch", "dit_s_256", "sd_vae_ft_ema", "--directory", str(tmp_path), "--mirror", mirror
        )
    stated, _, fetched = outcome.out.partition("in all: 334.6 MB to come and 2 files of unknown size")
    assert "license CC-BY-NC (T-Stitch release)" in stated and "license MIT" in stated
    assert "size unknown" in stated and "334.6 MB" in stated
    assert "starting" in fetched and "starting" not in stated
    assert "free; by fetching you accept: CC-BY-NC (T-Stitch release), MIT" in fetched


def test_one_failed_file_does_not_lose_the_others(capfd, tmp_path: Path, without_known_sizes) -> None:
    names = ["dit_s_256", "dit_xl_256", REFERENCE, INCEPTION]
    with served(Published(contents("dit_s_256", INCEPTION))) as mirror:
        outcome = command(capfd, "fetch", *names, "--directory", str(tmp_path), "--mirror", mirror)
    assert outcome.code == 2
    errors = outcome.err.splitlines()
    assert len(errors) == 3 and errors[-1] == "error: 2 of 4 failed; the same fetch goes on with them"
    assert "dit_xl_256:" in errors[0] and "scripts.weights fetch dit_xl_256_diffusers" in errors[0]
    assert f"{REFERENCE}:" in errors[1] and "answers 404" in errors[1]
    assert (tmp_path / "dit_s_256.pt").is_file() and (tmp_path / FILES[INCEPTION]["file"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "dit_s_256", "typo"], "unknown weights 'typo'; known: dit_s_256"),
        (["fetch", "pair=typo"], "unknown pair 'typo'; known: digits_dit_s_xl"),
        (["verify", "dit_s_256"], "run: python -m scripts.weights fetch dit_s_256"),
    ],
)
def test_mistakes_are_one_line_and_fetch_nothing(capfd, tmp_path: Path, arguments: list[str], message: str) -> None:
    published = Published(contents("dit_s_256"))
    with served(published) as mirror:
        mirrored = ["--mirror", mirror] if arguments[0] == "fetch" else []
        outcome = command(capfd, *arguments, "--directory", str(tmp_path), *mirrored)
    assert outcome.code == 2 and message in outcome.err and len(outcome.err.splitlines()) == 1
    assert published.requests == []


def test_what_ships_with_the_code_needs_no_fetch(capfd, tmp_path: Path) -> None:
    assert "ships with the code" in command(capfd, "fetch", "pair=digits_dit_s_xl", "--directory", str(tmp_path)).out


def test_a_run_without_the_autoencoders_configuration_fails_first(capfd, monkeypatch, tmp_path: Path) -> None:
    folder = tmp_path / "sd-vae"
    folder.mkdir()
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    networks = [f"pair.denoisers.{name}.path=models/zoo/digits/dit_s.safetensors" for name in ("s", "xl")]
    settings = ["pair=dit_s_xl", *networks, f"pair.autoencoder.path={folder}", f"out={tmp_path / 'out'}"]
    outcome = run_here(capfd, monkeypatch, "sample", *settings)
    assert outcome.code == 2
    assert f"weights {folder / 'config.json'} do not exist" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_misses_every_file_and_names_the_commands(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = run_here(capfd, monkeypatch, "sample", "pair=dit_s_xl", "dry_run=true", "tflops=100")
    missing = [line for line in outcome.out.splitlines() if line.startswith("missing")]
    if not missing:
        pytest.skip("the published weights are here")
    text = "\n".join(missing)
    assert "sd-vae-ft-ema/config.json" in text and "fetch sd_vae_ft_ema" in text
    assert "missing, all of it: python -m scripts.weights fetch pair=dit_s_xl" in text
    assert "missing for the scores: weights" in text and "fetch imagenet256_reference" in text


def test_a_download_shows_lines_where_there_is_no_terminal(capfd, monkeypatch) -> None:
    monkeypatch.setattr(progress, "REPORT_EVERY_S", 0)
    display = progress.Bytes()
    show = display.start("net.pt")
    show(1_000_000, 4_000_000)
    show(3_000_000, 4_000_000)
    display.start("other.pt")(500_000, None)
    display.stop()
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].startswith("net.pt: 3.0 of 4.0 MB, ") and lines[1].endswith(" s left")
    assert lines[2].startswith("other.pt: 0.5 MB, ")


def test_nothing_but_fetch_imports_a_downloader() -> None:
    code = (
        "import sys; from scripts import weights\n"
        "import sampling.cost, experiments.evaluation, models.weights.fetching\n"
        "weights.main(weights.make_parser().parse_args(['list']))\n"
        "print('gdown' in sys.modules)"
    )
    outcome = run(*PYTHON, "-c", code)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "False"
