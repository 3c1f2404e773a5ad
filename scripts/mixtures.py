"""Hold ways to mix two models against the first steps for the small one.

python -m scripts.mixtures 'sweeps=[DIR,...]'
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import MixturesSettings


def main(settings: MixturesSettings) -> None:
    from evaluation.report.mixtures import budgets_table, draw_mixtures, points_table, same_share_table, verdicts_table
    from evaluation.report.render import markdown
    from evaluation.report.result_page import ResultPage
    from experiments.paired import gather_mixtures
    from tstitch.runs.ranks import choose_device, joined_ranks

    page = ResultPage(Path(settings.out), "mixtures")
    page.check("a comparison of ways to mix")
    with joined_ranks() as ranks:
        mixed = gather_mixtures([Path(place) for place in settings.sweeps], ranks, choose_device("auto", 0))
    tables = "\n".join(markdown(make(mixed)) for make in (verdicts_table, budgets_table, same_share_table))
    page.write(tables, points_table(mixed), draw_mixtures(mixed), "FID against time, for each sweep")
    print(tables, page.path, sep="\n")


if __name__ == "__main__":
    run_command("mixtures", main)
