from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from evaluation.report.figures import STYLE, figure, save, svg_text


def drawn_one() -> Figure:
    with figure(3, 2) as drawn:
        axes = drawn.subplots()
        axes.plot([0, 1], [1, 0], label="a line")
        axes.legend()
    return drawn


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    assert any(settings[key] != value for key, value in STYLE.items())
    save(drawn_one(), tmp_path / "a.png", tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == settings


def test_a_picture_looks_the_same_whatever_the_settings_around_it(tmp_path: Path) -> None:
    plain = drawn_one()
    save(plain, tmp_path / "plain.png")
    others = {"axes.edgecolor": "red", "xtick.color": "red", "text.color": "red", "svg.hashsalt": "other"}
    with matplotlib.rc_context(others):
        drawn = drawn_one()
        save(drawn, tmp_path / "other.png")
        text = svg_text(drawn)
    assert text == svg_text(plain)
    first, second = (Image.open(tmp_path / f"{name}.png").tobytes() for name in ("plain", "other"))
    assert first == second


def test_svg_has_text_in_the_colour_of_its_page_and_the_same_ids_each_time() -> None:
    text = svg_text(drawn_one(), "own-")
    assert text == svg_text(drawn_one(), "own-")
    assert "a line</text>" in text
    assert "currentColor" in text
    assert 'id="own-figure_1"' in text
