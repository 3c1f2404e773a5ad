"""Write a Markdown page on finished sweeps: `python -m scripts.summary 'sweeps=[DIR]' out=summary.md`."""

from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command


def main(config: DictConfig) -> None:
    from evaluation.report.figures import save
    from evaluation.report.plots import draw_curves
    from evaluation.report.summary import Chapter, summarise
    from evaluation.report.sweep import join_sweeps, read_sweep
    from tstitch.errors import UserError
    from tstitch.runs.outputs import check_output
    from tstitch.runs.shards import write_atomically

    settings = resolved(config)
    if not isinstance(settings["sweeps"], list) or not settings["sweeps"]:
        raise UserError(f"sweeps must be a list of directories, got {settings['sweeps']!r}")
    directories = [Path(directory) for directory in settings["sweeps"]]
    page = Path(settings["out"])
    check_output(page, "a summary")
    page.parent.mkdir(parents=True, exist_ok=True)
    chapters = []
    for sweep, sources in join_sweeps([(read_sweep(directory), directory) for directory in directories]):
        curve = page.with_name(f"{page.stem}_{sweep.protocol['pair']}.png") if len(sweep.points) > 1 else None
        if curve is not None:
            save(draw_curves(sweep), curve)
        chapters.append(
            Chapter(sweep, curve, [(read_sweep(source).guidance_scales[0], source / "strip.png") for source in sources])
        )
    text = summarise(chapters, page)
    write_atomically(page, text.encode())
    print(text)
    print(page)


if __name__ == "__main__":
    run_command("summary", main)
