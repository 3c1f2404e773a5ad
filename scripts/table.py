"""Tables and figures of the paper, ours beside theirs: `python -m scripts.table name=table1 [pairs=fashion]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command, stop_if_failed

if TYPE_CHECKING:
    from settings.results import TableSettings


def main(settings: TableSettings) -> None:
    from experiments.experiment_files import check_takes_captions, check_takes_sweep, find_experiments

    names = find_experiments(settings.name, settings.pairs)
    if settings.sweep is not None:
        check_takes_sweep(settings.name, names)
    if settings.captions is not None:
        check_takes_captions(names)

    # A mistake in the settings should not wait for these.
    from experiments.experiment_files import check_outputs, write_index, write_page
    from experiments.tables import make_page

    out = Path(settings.out)
    check_outputs(out, names, with_index=settings.name is None)
    out.mkdir(parents=True, exist_ok=True)
    failed, titles = [], {}
    for name in names:
        page = make_page(name, settings)
        print(write_page(page, name, out))
        print(out / f"{name}.md")
        failed += page.failed
        titles[name] = page.table.title
    if settings.name is None:
        write_index(titles, settings.pairs, out)
    stop_if_failed(failed)


if __name__ == "__main__":
    run_command("table", main)
