"""The window as a user has it: opened, used and closed in a browser."""

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.browser import Browser, needs_browser
from tests.sampling.prompt_runs import save_weights
from tests.scripts.command import PYTHON, run, run_here, start
from tests.scripts.test_bad_input import check_one_line

COMMAND = "(document.querySelector('#command .cm-content')?.innerText ?? '')"
STATUS = "document.querySelector('#status').innerText.trim()"
TIMES = "[...document.querySelectorAll('.time')].map(each => each.innerText)"
pytestmark = [pytest.mark.long, needs_browser]


@contextmanager
def served(module: str, *arguments: str) -> Iterator[str]:
    """The address of a window, which ends with Ctrl-C."""
    process = start(*PYTHON, "-m", f"scripts.{module}", "port=0", *arguments)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + (process.stderr.read() if process.poll() else "")
        yield line.split()[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        assert process.returncode == 0
    finally:
        process.kill()


def field(name: str) -> str:
    return f"#{name} textarea, #{name} input"


def test_the_window_of_a_pair(tmp_path: Path) -> None:
    with served("app", "num_images=4") as address, Browser(tmp_path / "profile") as page:
        page.open(address)
        page.wait(f"{TIMES}.length == 3 && {COMMAND}.includes('scripts.sample')")
        assert "stitch.fraction=0.4 sampler=dpmpp_2m sampler.num_steps=20" in page.value(COMMAND)
        assert page.value("document.querySelectorAll('.images img').length") == 3 * 4
        bars = page.value("[...document.querySelectorAll('.who')].map(each => each.innerText.split(/\\s+/).join(' '))")
        assert bars == ["20", "8 12", "20"]

        for name, bad, said in [
            ("guidance", "0.5", "guidance.scale must be a number of 1 or more, or a list of them, got 0.5"),
            ("guidance", "x y", "guidance.scale must be a number of 1 or more, or a list of them, got 'x y'"),
            ("per-step", "0,0,1", "an explicit allocation needs 20 entries, one per step, got 3"),
            ("seed", "", "seed must be a whole number of 0 or more, got ''"),
            ("knobs", "delta=1", "unknown key 'router.delta'"),
        ]:
            before = page.value(f"document.querySelector({json.dumps(field(name))}).value")
            page.write(field(name), bad)
            page.click("#run")
            page.wait(f"{STATUS}.includes({json.dumps(said)})")
            page.write(field(name), before)

        page.write(field("per-step"), ",".join("01" * 10))
        page.write(field("seed"), "7")
        page.click("#run")
        page.wait(f"{COMMAND}.includes('seed=7')")
        page.wait(f"{STATUS} == ''")

        for name, value in (("steps", "100"), ("images", "16")):
            page.write(f"#{name} input[type=number]", value)
        page.write(field("per-step"), "")
        page.write(field("seed"), "8")
        page.click("#run")
        time.sleep(1)
        page.click("#stop")
        page.wait(f"{STATUS} == 'cancelled'")

        assert [url for url in page.requests if not url.startswith((address, "data:"))] == []
        assert page.mistakes == []


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("is_dark", [False, True])
def test_it_fits_a_phone_and_a_desk_in_light_and_dark(tmp_path: Path, window: str, width: int, is_dark: bool) -> None:
    with Browser(tmp_path / "profile", width, is_dark=is_dark) as page:
        page.open(window)
        page.wait(f"{TIMES}.length == 3")
        assert page.value("document.documentElement.scrollWidth") <= width
        sides = page.value(
            "[...document.querySelectorAll('.images img')].map(each => each.getBoundingClientRect().right)"
        )
        assert max(sides) <= width
        background = page.value("getComputedStyle(document.body).backgroundColor")
        levels = [int(level) for level in re.findall(r"\d+", background)[:3]]
        assert max(levels) < 60 if is_dark else min(levels) > 240


@pytest.fixture(scope="module")
def window() -> Iterator[str]:
    with served("app", "pair=digits_dit_s_xl", "sampler.num_steps=4", "num_images=2") as address:
        yield address


def test_the_command_makes_the_images_of_the_page(tmp_path: Path, window: str) -> None:
    with Browser(tmp_path / "profile") as page:
        page.open(window)
        page.wait(f"{TIMES}.length == 3 && {COMMAND}.includes('scripts.sample')")
        command = page.value(COMMAND).split()
        shown = page.value(
            "(async () => { const out = []; for (const img of [...document.querySelectorAll('.images')][1].children) {"
            " await img.decode(); const c = document.createElement('canvas'); c.width = img.naturalWidth;"
            " c.height = img.naturalHeight; const g = c.getContext('2d'); g.drawImage(img, 0, 0);"
            " out.push([...g.getImageData(0, 0, c.width, c.height).data]) } return out })()"
        )
    outcome = run(*PYTHON, *command[1:], f"out={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    with np.load(tmp_path / "run/samples.npz") as file:
        images = file["arr_0"]
    assert np.array_equal(np.array(shown).reshape(2, 32, 32, 4)[..., :3], images)


def test_the_window_of_a_pipeline(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "weights")
    size = ["precision=float32", "call.num_inference_steps=5", "call.height=16", "call.width=16", "num_images=2"]
    folders = [f"large={weights / 'large'}", f"small=[{weights / 'small'}]"]
    with served("app_prompts", *folders, *size) as address, Browser(tmp_path / "profile") as page:
        page.open(address)
        page.wait("document.querySelector('#run') !== null")
        page.write(field("prompt"), 'a "quoted" cat, it\'s red')
        page.click("#run")
        page.wait(f"{TIMES}.length == 3 && {COMMAND}.includes('scripts.prompts')")
        assert page.value("document.querySelectorAll('.images img').length") == 6
        assert page.mistakes == []


def test_mistakes_before_the_window_are_one_line(capfd, monkeypatch) -> None:
    check_one_line(run_here(capfd, monkeypatch, "app", "port=x"), "port must be a whole number of 0 or more, got 'x'")
    check_one_line(run_here(capfd, monkeypatch, "app", "pair=dit_s_xl"), "weights fetch pair=dit_s_xl")
    check_one_line(
        run_here(capfd, monkeypatch, "app_prompts", "small=[]"),
        "small must be a list of paths, at least 1",
    )
