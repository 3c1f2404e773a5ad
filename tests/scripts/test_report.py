"""The report as a browser shows it."""

import html
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from evaluation.report.page import draw_pictures
from evaluation.report.sweep import Point, Sweep
from tests.scripts.command import PYTHON, run
from tests.scripts.test_bad_input import check_one_line

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH (Debian: apt install chromium)")
TINY = ["num_images=40", "batch_size=40", "sampler.num_steps=4", "latency.repeats=2", "pair.evaluation.bootstrap=10"]
SECTIONS = ["trade-off", "images", "latency", "analysis", "numbers", "protocol", "reproduce"]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "sweep"
    assert run(*PYTHON, "-m", "scripts.sweep", *TINY, "fractions=0:1:0.5", f"out={out}").code == 0
    outcome = run(*PYTHON, "-m", "scripts.report", f"sweep={out}")
    assert outcome.code == 0, outcome.err
    return out / "report.html"


def browse(page: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Headless Chromium on a page, without a network; its console on stderr."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
    ]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    command = [CHROMIUM, *flags, *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_everything_is_inside_the_page(page: Path) -> None:
    text = html.unescape(page.read_text())
    for section in SECTIONS:
        assert f'<h2 id="{section}">' in text
    assert text.count("<svg") == 6, "four panels, the latency, the similarity"
    assert text.count('<img src="data:image/png;base64,') == 3 * 10, "ten classes at three fractions"
    addresses = set(re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", text))
    assert all(address.startswith("data:") for address in addresses), addresses
    assert not re.search(r"@import|url\(\s*[\"']?http", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "the figures' ids do not collide"
    for reference in re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text):
        assert reference in ids
    assert "fractions=0:1:0.5" in text
    assert "Figure 1 and table 9" in text
    assert "95% interval" in text


def test_its_plots_are_files_beside_it(page: Path) -> None:
    panels = [f"{metric}_{axis}_scale_1.1" for metric in ("fid", "inception_score") for axis in ("fraction", "time")]
    names = [*panels, "latency", "similarity"]
    pictures = page.with_name("report_pictures")
    assert {path.name for path in pictures.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        with Image.open(pictures / f"{name}.png") as picture:
            picture.load()
            assert picture.format == "PNG"
            assert min(picture.size) > 200
        root = ElementTree.parse(pictures / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert next(root.iter("{http://www.w3.org/2000/svg}text"), None) is not None
    assert "report_pictures" not in page.read_text(), "the page needs none of them"


def test_each_guidance_scale_has_its_plots(tmp_path: Path) -> None:
    def point(scale: float | list[float]) -> Point:
        latency = {"seconds_per_image": 1.0, "seconds_per_image_min": 1.0, "seconds_per_image_max": 1.0}
        metrics = {"fid5k": 9.0, "inception_score": 5.0}
        return Point([0, 1], scale, "ddim", 50, "small_to_large", "steps", [1], metrics, latency)

    drawn = draw_pictures(Sweep([point(1.5), point([1, 1.5])], {"pair": "a"}), [])
    assert len(drawn) == 8, "no latency split: the points have no stages"
    assert {"fid_time_scale_1.5", "fid_time_scale_1_1.5"} <= drawn.keys()


def test_several_models_stand_beside_the_papers(tmp_path: Path) -> None:
    sweep = ["pair=digits_dit_s_b_xl", "fractions=[[0,0,1],[0.5,0,0.5]]", f"out={tmp_path}"]
    assert run(*PYTHON, "-m", "scripts.sweep", *TINY, *sweep).code == 0
    outcome = run(*PYTHON, "-m", "scripts.report", f"sweep={tmp_path}", "analyses=[]")
    assert outcome.code == 0, outcome.err
    text = html.unescape((tmp_path / "report.html").read_text())
    assert "the fastest of 2 points with FID within 10%" in text
    assert "protocols differ: data: imagenet256 in the paper, digits here" in text
    assert "<td>0.5/0/0.5</td>" in text


@needs_browser
@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_a_phone_and_a_desk(page: Path, tmp_path: Path, width: int) -> None:
    """The page itself never scrolls sideways (wide tables do, in their own box), and the console stays empty."""
    measuring = tmp_path / "measured.html"
    script = (
        "<script>addEventListener('load', () => { const f = document.createElement('iframe');"
        f"f.style.width = '{width}px'; f.style.height = '900px';"
        "f.srcdoc = document.querySelector('template').innerHTML;"
        "f.onload = () => { const d = f.contentDocument; document.title = ["
        "d.documentElement.scrollWidth, d.documentElement.clientWidth, d.querySelectorAll('svg').length,"
        "[...d.images].every(i => i.naturalWidth > 0)].join(' ') }; document.body.append(f); });</script>"
    )
    measuring.write_text(f"<!doctype html><title>-</title><template>{page.read_text()}</template>{script}")
    done = browse(measuring, tmp_path / "profile", "--virtual-time-budget=8000", "--dump-dom")
    scroll, client, pictures, loaded = re.search(r"<title>(.*?)</title>", done.stdout).group(1).split()
    assert int(scroll) <= int(client) <= width
    assert (pictures, loaded) == ("6", "true")
    assert "CONSOLE" not in done.stderr


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_in_light_and_dark(page: Path, tmp_path: Path, dark: bool) -> None:
    shot = tmp_path / "shot.png"
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    browse(page, tmp_path / "profile", "--window-size=1400,2400", f"--screenshot={shot}", *scheme)
    picture = Image.open(shot).convert("L")
    histogram = picture.histogram()
    background = max(range(256), key=histogram.__getitem__)
    assert background < 60 if dark else background > 240
    assert sum(histogram) - sum(histogram[max(0, background - 8) : background + 9]) > 0.02 * sum(histogram)


def test_mistakes_are_one_line(tmp_path: Path, page: Path) -> None:
    check_one_line(run(*PYTHON, "-m", "scripts.report", f"sweep={tmp_path}"), "holds no sweep (no sweep.json)")
    outcome = run(*PYTHON, "-m", "scripts.report", f"sweep={page.parent}", "analyses=[magic]")
    check_one_line(outcome, "analyses must be of similarity, spectrum, error, got 'magic'")
