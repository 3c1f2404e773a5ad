"""The style of every figure, and its files: PNG on white, SVG that takes the text colour of its page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from tstitch.runs.atomic import write_atomically

INK, MUTED = "#1b2027", "#7a828e"
# Each has a contrast above 3 on white and on a dark page.
PALETTE = ("#2a78d6", "#c8650a", "#2e8b57", "#8a5cd1", "#c33d4f", "#6f7f1c", "#0f8a94", "#b0468f", "#7a828e")
STYLE = {
    "svg.hashsalt": "tstitch",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
        INK,
    ),
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Make an empty figure, in inches; all that is drawn on it inside the block has our style."""
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, *paths: Path) -> None:
    """Write a figure to each path by its suffix."""
    for path in paths:
        if path.suffix == ".svg":
            write_atomically(path, svg_text(drawn).encode())
        else:
            content = io.BytesIO()
            _write(drawn, content, format=path.suffix[1:], dpi=110)
            write_atomically(path, content.getvalue())


def svg_text(drawn: Figure, prefix: str = "") -> str:
    """Return the figure as an `<svg>` element: no background, ink in the colour of the text around it.

    Args:
        prefix: of every id, so that several figures can stand in one page.
    """
    buffer = io.StringIO()
    _write(drawn, buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)


def _write(drawn: Figure, target: io.BytesIO | io.StringIO, **options: object) -> None:
    with matplotlib.rc_context(STYLE):  # SVG's ids and its kind of text are decided only here
        drawn.savefig(target, **options)
