"""A report as one self-contained HTML page, and as Markdown with links to its pictures."""

import base64
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from evaluation.report.content import Chapter, Picture, Report
from evaluation.report.figures import svg_text
from evaluation.report.render import markdown

TEMPLATE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.html.jinja", "page.js"))


def render_html(report: Report) -> str:
    """Write the page as HTML: everything is inside it, nothing is loaded."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(
        report=report, svg=_svg, data_url=data_url, curves_data=_curves_data, script=SCRIPT.read_text()
    )


def render_markdown(report: Report, page: Path, pictures: Path) -> str:
    """Write the page as Markdown, without the protocol.

    Args:
        page: where it will lie; links are relative to it.
        pictures: the directory that holds every picture of the report as PNG.
    """

    def link(caption: str, picture: Path) -> str:
        return f"![{caption}]({Path(os.path.relpath(picture, page.parent)).as_posix()})\n"

    def link_picture(picture: Picture) -> str:
        return link(picture.caption, pictures / f"{picture.name}.png")

    lines = [f"# {report.title}", ""]
    if report.glance is not None:
        lines.append(markdown(report.glance))
    if report.front is not None:
        lines += [link_picture(report.front.picture), *(f"{sentence}\n" for sentence in report.front.sentences)]
    for chapter in report.chapters:
        lines += [f"## {chapter.pair}", "", chapter.lead, ""]
        lines += [f"{sentence}\n" for sentence in chapter.findings]
        for scale, verdicts in chapter.verdicts:
            lines += [f"Guidance scale {scale}, paired by their noise:", "", *(f"- {text}." for text in verdicts), ""]
        for scale, of_scale in chapter.panels:
            lines += [f"Guidance scale {scale}:\n"] if len(chapter.panels) > 1 else []
            lines += map(link_picture, of_scale)
        for strip in chapter.strips:
            caption = f"Guidance scale {strip.scale}: the same noise at every fraction, a row for each class"
            lines += [link(caption, strip.path)] if strip.path is not None else []
        lines += [link_picture(picture) for picture, _ in chapter.decided]
        lines += [link_picture(chapter.stages)] if chapter.stages is not None else []
        lines += [f"#{markdown(table)}" for table in chapter.tables]
    for analysis in report.analyses:
        lines += [link_picture(analysis.picture), *(f"{sentence}\n" for sentence in analysis.sentences)]
    commands = ["## How to reproduce", "", "```", *report.commands, "```", ""]
    return "\n".join([*lines, *commands])


def _curves_data(chapter: Chapter) -> str:
    """Return what the page's script says of the points of each curve, as JSON."""
    curves = [asdict(curve) | {"scale": str(curve.scale)} for curve in chapter.curves]
    return json.dumps(curves, ensure_ascii=False)


def _svg(picture: Picture) -> str:
    """Return the picture as an `<svg>` element whose ids no other picture has."""
    return svg_text(picture.figure, f"{picture.name}-")


def data_url(image: np.ndarray) -> str:
    """Return an image (H, W, 3) uint8 as the address of a PNG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
