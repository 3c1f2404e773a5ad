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
    from evaluation.report.figures import save
    from evaluation.report.flatness import draw_flatness, flatness_table, gather
    from evaluation.report.render import comma_separated, markdown
    from evaluation.report.sweep import read_sweep
    from tstitch.runs.atomic import write_atomically
    from tstitch.runs.outputs import check_output

    out = Path(settings.out)
    page, table_file, picture = (out / f"flatness.{suffix}" for suffix in ("md", "csv", "png"))
    check_output(page, "a comparison of pairs", beside=[table_file, picture])
    places = [Path(place) for place in settings.sweeps]
    stitched = gather([(place, read_sweep(place)) for place in places], [Path(place) for place in settings.analyses])
    table = flatness_table(stitched)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(table_file, comma_separated(table).encode())
    save(draw_flatness(stitched), picture)
    write_atomically(page, f"{markdown(table)}\n![The flat fraction against each measure]({picture.name})\n".encode())
    print(markdown(table), page, sep="\n")


if __name__ == "__main__":
    run_command("flatness", main)
