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
    from evaluation.report.mixtures import (
        budgets_table,
        fixed_table,
        metrics_table,
        points_table,
        same_share_table,
        verdicts_table,
    )
    from evaluation.report.mixtures_plot import draw_mixtures
    from evaluation.report.render import markdown
    from evaluation.report.result_page import ResultPage
    from experiments.mixed import gather_mixtures
    from tstitch.runs.ranks import choose_device, joined_ranks

    page = ResultPage(Path(settings.out), "mixtures")
    page.check("a comparison of ways to mix")
    with joined_ranks() as ranks:
        places, references = ([Path(own) for own in given] for given in (settings.sweeps, settings.references))
        mixed = gather_mixtures(places, references, ranks, choose_device("auto", 0))
    made = (verdicts_table, metrics_table, same_share_table, fixed_table, budgets_table)
    tables = "\n".join(markdown(make(mixed)) for make in made)
    page.write(tables, points_table(mixed), draw_mixtures(mixed), "FID against time, for each sweep")
    print(tables, page.path, sep="\n")


if __name__ == "__main__":
    run_command("mixtures", main)
