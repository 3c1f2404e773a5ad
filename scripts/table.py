"""Tables and figures of the paper, ours beside theirs: `python -m scripts.table name=table1 [pairs=digits]`."""

from pathlib import Path

from hydra import compose
from omegaconf import DictConfig

from models.checkout import CONFIG_DIR
from sampling.configuration import resolved
from scripts.cli import run_command, stop_if_failed


def main(config: DictConfig) -> None:
    from tstitch.errors import UserError

    settings = resolved(config)
    names = experiment_names(settings["name"])
    if settings["pairs"] not in ("imagenet", "digits"):
        raise UserError(f"pairs must be imagenet or digits, got {settings['pairs']!r}")
    if settings["sweep"] is not None:
        _check_takes_sweep(settings["name"], names)

    from evaluation.report.figures import save
    from evaluation.report.render import FORMATS, markdown
    from experiments.tables import make_page
    from tstitch.runs.outputs import check_output
    from tstitch.runs.shards import write_atomically

    out = Path(settings["out"])
    for name in names:
        beside = [out / f"{name}.{suffix}" for suffix in ("csv", "tex", "png", "svg")]
        check_output(out / f"{name}.md", "a table", beside=beside)
    if settings["name"] is None:
        check_output(out / "README.md", "a list of tables")
    out.mkdir(parents=True, exist_ok=True)
    failed, index = [], []
    for name in names:
        page = make_page(name, settings)
        for suffix, render in FORMATS.items():
            write_atomically(out / f"{name}.{suffix}", render(page.table).encode())
        text = markdown(page.table)
        if page.picture is not None:
            save(page.picture, out / f"{name}.png", out / f"{name}.svg")
            text += f"\n![{page.table.title}]({name}.png)\n"
        write_atomically(out / f"{name}.md", f"{text}\n```\n{page.command}\n```\n".encode())
        print(text)
        print(out / f"{name}.md")
        failed += page.failed
        index.append(f"- [{page.table.title}]({name}.md)")
    if settings["name"] is None:
        title = f"# The paper's tables and figures, {settings['pairs']}"
        write_atomically(out / "README.md", "\n".join([title, "", *index, ""]).encode())
    stop_if_failed(failed)


def experiment_names(name: str | None) -> list[str]:
    """The experiments of a name: itself, or those that begin with it and an underscore; all without one."""
    from tstitch.errors import UserError

    known = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))
    names = known if name is None else [own for own in known if own == name or own.startswith(f"{name}_")]
    if not names:
        raise UserError(f"unknown experiment {name!r}; known: {', '.join(known)}")
    return names


def _check_takes_sweep(name: str | None, names: list[str]) -> None:
    from tstitch.errors import UserError

    if len(names) != 1:
        raise UserError(f"sweep= is for one experiment; name={name} is {len(names)}: {', '.join(names)}")
    if compose("sweep", [f"experiment={names[0]}"]).paper.kind == "analysis":
        raise UserError(f"sweep= has no meaning for name={names[0]}: it is an analysis, which reads no sweep")


if __name__ == "__main__":
    run_command("table", main)
