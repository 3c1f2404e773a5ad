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
    from evaluation.report.figures import save
    from evaluation.report.mixtures import budgets_table, draw_mixtures, points_table, same_share_table, verdicts_table
    from evaluation.report.render import comma_separated, markdown
    from experiments.paired import gather_mixtures
    from tstitch.runs.atomic import write_atomically
    from tstitch.runs.outputs import check_output
    from tstitch.runs.ranks import choose_device, joined_ranks

    out = Path(settings.out)
    page, table_file, picture = (out / f"mixtures.{suffix}" for suffix in ("md", "csv", "png"))
    check_output(page, "a comparison of ways to mix", beside=[table_file, picture])
    with joined_ranks() as ranks:
        mixed = gather_mixtures([Path(place) for place in settings.sweeps], ranks, choose_device("auto", 0))
    tables = "\n".join(markdown(make(mixed)) for make in (verdicts_table, budgets_table, same_share_table))
    points, drawn = points_table(mixed), draw_mixtures(mixed)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(table_file, comma_separated(points).encode())
    save(drawn, picture)
    write_atomically(page, f"{tables}\n![FID against time, for each sweep]({picture.name})\n".encode())
    print(tables, page, sep="\n")


if __name__ == "__main__":
    run_command("mixtures", main)
