"""Hold what is cheap to know of pairs against how far they stay flat.

python -m scripts.flatness 'sweeps=[DIR,...]' 'analyses=[DIR,...]'
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import FlatnessSettings


def main(settings: FlatnessSettings) -> None:
    from evaluation.report.flatness import draw_flatness, flatness_table, gather
    from evaluation.report.render import markdown
    from evaluation.report.result_page import ResultPage
    from evaluation.report.sweep import read_sweep

    page = ResultPage(Path(settings.out), "flatness")
    page.check("a comparison of pairs")
    places = [Path(place) for place in settings.sweeps]
    stitched = gather([(place, read_sweep(place)) for place in places], [Path(place) for place in settings.analyses])
    table = flatness_table(stitched)
    page.write(markdown(table), table, draw_flatness(stitched), "The flat fraction against each measure")
    print(markdown(table), page.path, sep="\n")


if __name__ == "__main__":
    run_command("flatness", main)
