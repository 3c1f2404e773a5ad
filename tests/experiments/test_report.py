"""The report as a browser shows it."""

import html
import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from evaluation.report.content import Chapter, make_chapter
from evaluation.report.sweep import Point, Sweep
from tests.browser import CHROMIUM, Browser, needs_browser
from tests.scripts.command import PYTHON, run, run_here
from tests.scripts.test_bad_input import check_one_line

TINY = ["num_images=40", "batch_size=40", "sampler.num_steps=4", "latency.repeats=2", "pair.evaluation.bootstrap=10"]
SECTIONS = ["trade-off", "images", "latency", "analysis", "numbers", "protocol", "reproduce"]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "sweep"
    assert run(*PYTHON, "-m", "scripts.sweep", *TINY, "fractions=0:1:0.5", f"out={out}").code == 0
    analysis = ["analysis=similarity", "num_images=4", "sampler.num_steps=4", f"out={out.parent / 'analysis'}"]
    assert run(*PYTHON, "-m", "scripts.analyse", *analysis).code == 0
    outcome = run(*PYTHON, "-m", "scripts.report", f"sweep={out}", f"analyses=[{out.parent / 'analysis'}]")
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


@pytest.mark.long
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


@needs_browser
@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1400])
def test_the_slider_shows_the_images_of_its_fraction_and_marks_its_point(
    page: Path, tmp_path: Path, width: int
) -> None:
    move = 'const s = document.querySelector(".player input"); s.value = 1; s.dispatchEvent(new Event("input"));'
    moved = tmp_path / "moved.html"
    moved.write_text(page.read_text().replace("</body>", f"<script>{move}</script></body>"))
    outcome = browse(moved, tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
    assert "CONSOLE" not in outcome.stderr, outcome.stderr
    dom = html.unescape(outcome.stdout)
    [text] = re.findall(r"<output[^>]*>([^<]*)<", dom)
    measured = r"0\.5/0\.5: FID40 [\d.]+ \(95%: .*, [\d.]+ ms for an image"
    evaluated = "digits_dit_s evaluated 4 times, digits_dit_xl evaluated 4 times"  # of four steps, with guidance
    assert re.match(rf"{measured}, {evaluated}, ddim, 4 steps, guidance 1\.1$", text)
    assert dom.count('class="ring"') == 4, "one in each plot"
    assert dom.count(f"<title>{text}</title>") == 4, "what its point says when it is pointed at"
    rows = re.findall(r'<tr><th scope="row">\d</th>(.*?)</tr>', dom)
    shown = re.findall(r'<img src="([^"]*)"', re.search(r'<div class="grid">(.*?)</div>', dom, re.S)[1])
    assert shown == [re.findall(r'<img src="([^"]*)"', row)[1] for row in rows]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A page on two numbers of steps and on a router by which each image decides."""
    out = tmp_path_factory.mktemp("mixed") / "sweep"
    grids = ["num_steps=[2,4]", "fractions=[0,1]", "also=[{routers: [{kind: probe, threshold: 0.35, every: 1}]}]"]
    assert run(*PYTHON, "-m", "scripts.sweep", *TINY, *grids, f"out={out}").code == 0
    outcome = run(*PYTHON, "-m", "scripts.report", f"sweep={out}")
    assert outcome.code == 0, outcome.err
    return out / "report.html"


@needs_browser
@pytest.mark.long
def test_the_front_is_of_the_lines_that_are_shown(mixed: Path, tmp_path: Path) -> None:
    front = """document.querySelector('[id$="-pareto"] path').getAttribute("d")"""
    drawn = """[...document.querySelectorAll('[id*="-group-"] use')].filter(u => u.closest('[style*=none]') === null)"""
    places = f"{drawn}.map(u => [Number(u.getAttribute('x')), Number(u.getAttribute('y'))])"
    with Browser(tmp_path / "profile") as page:
        page.open(mixed.as_uri())
        page.wait("document.querySelector('.filter')?.hidden === false")
        labels = page.value("[...document.querySelectorAll('.filter label')].map(each => each.innerText.trim())")
        assert len(labels) == 4
        assert sum("probe" in label for label in labels) == 2
        for number in (0, 1):
            page.value(f"document.querySelectorAll('.filter input')[{number}].click()")
            points = sorted(map(tuple, page.value(places)))
            kept = [own for own in points if not any(o[0] <= own[0] and o[1] >= own[1] and o != own for o in points)]
            numbers = [float(value) for value in re.findall(r"[\d.]+", page.value(front))]
            assert list(zip(numbers[::2], numbers[1::2], strict=True)) == kept
        assert "guidance 1.1" in page.value("document.querySelector('.front use title').textContent")
        assert page.mistakes == []


def test_what_images_decided_is_drawn_with_the_images_of_its_ends(mixed: Path) -> None:
    text = html.unescape(mixed.read_text())
    sweep = json.loads((mixed.parent / "sweep.json").read_text())
    decided = {name: counts for point in sweep["points"] for name, counts in point.get("decisions", {}).items()}
    assert list(decided) == ["switch_step"]
    figures = re.findall(r'<figure class="decided">(.*?)</figure>', text, re.DOTALL)
    assert len(figures) == 2, "of two steps and of four"
    for own in figures:
        assert own.count("<img ") == 2 * 8
    steps = [number for number, count in enumerate(decided["switch_step"]) if count]
    titles = re.findall(r"The images of the (least|most) \((\d+)(?: to (\d+))?\)", figures[-1])
    assert int(titles[0][1]) == steps[0]
    assert int(titles[1][2] or titles[1][1]) == steps[-1]
    assert "switch step of all images" in mixed.with_suffix(".md").read_text()


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


def test_the_markdown_page_says_the_same(page: Path) -> None:
    text, shown = page.with_suffix(".md").read_text(), html.unescape(page.read_text())
    links = re.findall(r"\]\((.*?)\)", text)
    assert len(links) == 6 + 1, "the plots, the strip"
    assert all((page.parent / link).is_file() for link in links)
    for line in text.splitlines():
        if line.startswith("| "):
            assert all(f">{cell}</t" in shown for cell in line.strip("| ").split(" | ") if cell != "---"), line
        elif line and line[0] not in "#!`" and not line.endswith(":"):
            assert line.removeprefix("- ").removesuffix(".") in shown


def test_the_analysis_is_drawn_as_it_was_where_it_was_stored(page: Path) -> None:
    stored, drawn = page.parent.parent / "analysis/similarity", page.with_name("report_pictures") / "similarity"
    for suffix in (".svg", ".png"):
        assert stored.with_suffix(suffix).read_bytes() == drawn.with_suffix(suffix).read_bytes()


def stitched(scale: float | list[float], fractions: tuple[float, ...] = (0, 1)) -> Point:
    latency = {"seconds_per_image": 1.0, "seconds_per_image_min": 1.0, "seconds_per_image_max": 1.0}
    metrics = {"fid5k": 9.0, "inception_score": 5.0}
    return Point(list(fractions), scale, "ddim", 50, "small_to_large", "steps", [1], metrics, latency)


def chapter(points: list[Point], **others: object) -> Chapter:
    protocol = {"pair": "a", "num_images": 5000, "seed": 0, "precision": "float32", "device_name": "cpu",
                "reference_num_images": None, "extractor": "digits"}  # fmt: skip
    return make_chapter(Sweep(points, protocol), strips=[], tables=[], **others)


def test_each_guidance_scale_has_its_plots() -> None:
    panels = chapter([stitched(1.5), stitched([1, 1.5])], prefix="1_").panels
    assert [len(pictures) for _, pictures in panels] == [4, 4]
    names = [picture.name for _, pictures in panels for picture in pictures]
    assert len(set(names)) == 8
    assert {"1_fid_time_scale_1.5", "1_fid_time_scale_1_1.5"} <= set(names)
    alone = chapter([stitched(1.5, (0.2, 0.3, 0.5))])
    assert (alone.panels, alone.stages) == ([], None), "the points have no stages"


@pytest.mark.long
def test_several_sweeps_are_joined_by_their_pair(capfd, monkeypatch, tmp_path: Path, page: Path) -> None:
    scale, three, large = (tmp_path / name for name in ("scale", "three", "large"))
    for sweep in (["guidance.scale=1.5", "fractions=[0,1]", f"out={scale}"],
                  ["pair=fashion_dit_s_b_xl", "fractions=[[0.5,0,0.5]]", f"out={three}"],
                  ["pair=fashion_dit_s_xl", "fractions=[0]", f"out={large}"]):  # fmt: skip
        assert run(*PYTHON, "-m", "scripts.sweep", *TINY, *sweep).code == 0  # as `page`: with as many threads
    sweeps = f"sweeps=[{page.parent},{scale},{three},{large}]"
    outcome = run_here(capfd, monkeypatch, "report", sweeps, f"out={tmp_path / 'all.html'}")
    assert outcome.code == 0, outcome.err
    text = html.unescape((tmp_path / "all.html").read_text())
    assert re.findall(r'<h2 id="chapter-\d">(\w+)', text) == [
        "digits_dit_s_xl",
        "fashion_dit_s_b_xl",
        "fashion_dit_s_xl",
    ]
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count('<img src="data:image/png;base64,') == 10 * (3 + 2 + 1 + 1)
    assert "protocols differ: data: imagenet256 in the paper, digits here" in text
    assert "<td>0.5/0/0.5</td>" in text
    assert "Fractions 0.5/0/0.5 at guidance scale 1.5: FID" in text
    assert "faster than the large model alone." in text, "the large model's sweep is another one"
    links = re.findall(r"\]\((.*?)\)", (tmp_path / "all.md").read_text())
    assert all((tmp_path / link).is_file() for link in links)


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


def test_mistakes_are_one_line(capfd, monkeypatch, tmp_path: Path, page: Path) -> None:
    def refused(message: str, *arguments: str) -> None:
        check_one_line(run_here(capfd, monkeypatch, "report", *arguments), message)

    place, stored = f"sweep={page.parent}", tmp_path / "similarity.json"
    refused("holds no sweep (no sweep.json)", f"sweep={tmp_path}")
    refused("give one of sweep=DIR and sweeps=[DIR,...]", place, f"sweeps=[{page.parent}]")
    refused("analyses must be a list of paths, got 'x'", place, "analyses=x")
    refused("holds no analysis (similarity.json, spectrum.json, error.json, ", place, f"analyses=[{tmp_path}]")
    stored.write_text('{"identity": {}, "found": []}')
    refused("pair is missing; it must be text; scripts.analyse writes it anew", place, f"analyses=[{stored}]")
    content = json.loads((page.parent.parent / "analysis/similarity.json").read_text())
    stored.write_text(json.dumps({**content, "pair": "other"}))
    refused("the analysis similarity is of other, the sweeps of digits_dit_s_xl", place, f"analyses=[{stored}]")
