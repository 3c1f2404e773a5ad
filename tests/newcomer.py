"""A fresh checkout, the published files on a server, and the commands of README.md and docs/imagenet.md."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import yaml

from models.networks.dit import dit_config
from tests.conftest import ROOT
from tests.published.manifest import SMALL_LDM, SMALL_VQ, small_dit, write_published
from tests.serving import Published, served

MIRRORED = re.compile(r"https:/(/.*)")


def page_commands(page: str, heading: str) -> list[str]:
    """Read the commands of the first fenced block below a heading of a page, without comments."""
    section = (ROOT / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = section.split("```")[1].replace("\\\n", " ")
    lines = (re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines())
    return [re.sub(r"\s+", " ", line) for line in lines if line and not line.startswith("#")]


def make_checkout(folder: Path) -> Path:
    """Copy what git has of the checkout, with an environment that is this one; what the commands make stays there."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name.startswith(("docs/", "tests/", "benchmarks/")) or not (ROOT / name).is_file():
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
        os.utime(place, (0, 0))  # older than the environment, which make would else set up again
    environment = folder / ".venv"
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name in ("bin", "lib", "lib64", "include", "pyvenv.cfg"):
            (environment / part.name).symlink_to(part)
    (environment / ".ready").touch()
    return folder


def edit_yaml(path: Path, change: Callable[[dict], None]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def expect_other_bytes(checkout: Path) -> None:
    """Take the published sizes and checksums out of the manifest: the served files have random weights."""

    def change(entries: dict) -> None:
        for entry in entries.values():
            entry["files"] = [{k: v for k, v in file.items() if k not in ("size", "sha256")} for file in entry["files"]]

    edit_yaml(checkout / "configs/weights.yaml", change)


def expect_small_networks(checkout: Path) -> None:
    """Give the networks of the DiT and LDM pairs the shapes of the small published files."""
    configs = checkout / "configs"
    for name, preset in (("dit_s", "DiT-S/2"), ("dit_xl", "DiT-XL/2")):
        shape = asdict(small_dit(dit_config(preset, input_size=32)))
        edit_yaml(configs / f"denoiser/{name}.yaml", lambda content, shape=shape: content.update(config=shape))
    for name in ("ldm_s", "ldm"):
        shape = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(SMALL_LDM).items()}
        edit_yaml(configs / f"denoiser/{name}.yaml", lambda content, shape=shape: content.update(config=shape))
    shape = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(SMALL_VQ).items()}
    edit_yaml(configs / "autoencoder/vq_f8.yaml", lambda content: content.update(config=shape))


@contextmanager
def published_files(names: list[str], folder: Path, full_size: bool) -> Iterator[str]:
    """Write what is published as `names`, and serve it where a mirror of its addresses has it."""
    manifest = yaml.safe_load((ROOT / "configs/weights.yaml").read_text())
    contents: dict[str, bytes | Path] = {}
    for name in names:
        written = write_published(name, folder / name, full_size)
        for file in manifest[name]["files"]:
            drive_id = file["url"].partition("/drive.google.com/uc?id=")[2]
            wanted = file["file"] if drive_id else MIRRORED.fullmatch(file["url"]).group(1)
            contents[drive_id or wanted] = next(path for path in written if path.name == Path(wanted).name)
    with served(Published(contents)) as mirror:
        yield mirror


def run_line(checkout: Path, line: str, mirror: str) -> str:
    """Run a line of a page in a shell with the environment active; returns its output."""
    environment = {
        **os.environ,
        "PATH": f"{checkout / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "TSTITCH_MIRROR": mirror,
    }
    environment.pop("OMP_NUM_THREADS", None)
    started = time.perf_counter()
    done = subprocess.run(["bash", "-c", line], cwd=checkout, env=environment, capture_output=True, text=True)
    print(f"$ {line}\n{done.stdout[-2000:]}({time.perf_counter() - started:.0f} s)")
    assert done.returncode == 0, f"{line}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
