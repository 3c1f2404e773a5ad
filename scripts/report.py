"""Write a page on finished sweeps, HTML and Markdown, and its plots as files: `python -m scripts.report sweep=DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import ReportSettings


def main(settings: ReportSettings) -> None:
    from evaluation.report.figures import save
    from evaluation.report.page import render_html, render_markdown
    from experiments.report import read_report, sweep_directories
    from tstitch.runs.atomic import write_atomically
    from tstitch.runs.outputs import check_output

    directories = sweep_directories(settings)
    page = Path(settings.out) if settings.out is not None else directories[0] / "report.html"
    text, pictures = page.with_suffix(".md"), page.with_name(f"{page.stem}_pictures")
    check_output(page, "a report")
    check_output(text, "a summary")
    report = read_report(directories, settings)
    pictures.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render_html(report).encode())
    write_atomically(text, render_markdown(report, text, pictures).encode())
    for picture in report.pictures:
        save(picture.figure, pictures / f"{picture.name}.png", pictures / f"{picture.name}.svg")
    print(*(sentence for chapter in report.chapters for sentence in chapter.findings), page, text, sep="\n")
    print(f"{len(report.pictures)} pictures as PNG and SVG: {pictures}")


if __name__ == "__main__":
    run_command("report", main)
