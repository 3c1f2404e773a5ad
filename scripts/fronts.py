"""The best FID within a time with one model, two, three: `python -m scripts.fronts 'sweeps=[DIR,...]'`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import FrontsSettings


def main(settings: FrontsSettings) -> None:
    from evaluation.report.model_fronts import draw_model_fronts, model_fronts_table
    from evaluation.report.render import markdown
    from evaluation.report.result_page import ResultPage
    from experiments.paired import gather_scored
    from tstitch.runs.ranks import choose_device, joined_ranks

    page = ResultPage(Path(settings.out), "fronts")
    page.check("a comparison of numbers of models")
    with joined_ranks() as ranks:
        scored = gather_scored([Path(place) for place in settings.sweeps], ranks, choose_device("auto", 0))
    table = model_fronts_table(scored)
    page.write(markdown(table), table, draw_model_fronts(scored), "The front of each number of models")
    print(markdown(table), page.path, sep="\n")


if __name__ == "__main__":
    run_command("fronts", main)
