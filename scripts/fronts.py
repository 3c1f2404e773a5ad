"""The best FID within a time with one model, two, three: `python -m scripts.fronts 'sweeps=[DIR,...]'`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import FrontsSettings


def main(settings: FrontsSettings) -> None:
    from evaluation.report.figures import save
    from evaluation.report.model_fronts import draw_model_fronts, model_fronts_table
    from evaluation.report.render import comma_separated, markdown
    from experiments.paired import gather_scored
    from tstitch.runs.atomic import write_atomically
    from tstitch.runs.outputs import check_output
    from tstitch.runs.ranks import choose_device, joined_ranks

    out = Path(settings.out)
    page, table_file, picture = (out / f"fronts.{suffix}" for suffix in ("md", "csv", "png"))
    check_output(page, "a comparison of numbers of models", beside=[table_file, picture])
    with joined_ranks() as ranks:
        scored = gather_scored([Path(place) for place in settings.sweeps], ranks, choose_device("auto", 0))
    table, drawn = model_fronts_table(scored), draw_model_fronts(scored)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(table_file, comma_separated(table).encode())
    save(drawn, picture)
    write_atomically(page, f"{markdown(table)}\n![The front of each number of models]({picture.name})\n".encode())
    print(markdown(table), page, sep="\n")


if __name__ == "__main__":
    run_command("fronts", main)
