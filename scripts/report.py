"""One HTML page on a sweep, and its plots as files: `python -m scripts.report sweep=DIR`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

if TYPE_CHECKING:
    from evaluation.report.page import Finding
    from evaluation.report.sweep import Sweep
    from evaluation.report.tables import Table


# Settings of a sweep that its analyses have too; images and seed are an analysis's own.
OF_THE_MODELS = ("pair", "sampler", "guidance", "allocation", "precision", "autoencoder_precision")


def main(config: DictConfig) -> None:
    from evaluation.report.figures import save
    from evaluation.report.page import draw_pictures, render_report
    from evaluation.report.sweep import read_sweep
    from tstitch.errors import UserError
    from tstitch.runs.outputs import check_output
    from tstitch.runs.run import load_run
    from tstitch.runs.shards import write_atomically

    settings = resolved(config)
    directory = Path(settings["sweep"])
    sweep = read_sweep(directory)
    if not isinstance(settings["analyses"], list):
        raise UserError(f"analyses must be a list of names, got {settings['analyses']!r}")
    runs = [load_run(directory / point.run) for point in sweep.points]
    page = Path(settings["out"]) if settings["out"] is not None else directory / "report.html"
    check_output(page, "a report")
    tables = _beside_paper(sweep, settings)
    analyses = [_analyse(kind, sweep, settings["device"]) for kind in settings["analyses"]]
    commands = f"{reproduce(sweep)}\npython -m scripts.report {shlex.quote(f'sweep={directory}')}"
    drawn = draw_pictures(sweep, analyses)
    pictures = page.with_name(f"{page.stem}_pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render_report(sweep, runs, drawn, analyses, tables, commands).encode())
    for name, picture in drawn.items():
        save(picture, pictures / f"{name}.png", pictures / f"{name}.svg")
    print(page)
    print(f"{len(drawn)} pictures as PNG and SVG: {pictures}")


def reproduce(sweep: Sweep) -> str:
    """The command that makes a sweep again: its own overrides, but for where files lie."""
    return shlex.join(["python", "-m", "scripts.sweep", *sweep.overrides])


def _beside_paper(sweep: Sweep, settings: dict) -> list[Table]:
    from hydra import compose

    from evaluation.report.paper import Paper
    from evaluation.report.tables import points_table
    from experiments.tables import quality_differences

    pair = sweep.protocol["pair"]
    name = settings["experiment"] or settings["beside"].get(pair.removeprefix("digits_"))
    if name is None:
        return []
    published = resolved(compose("sweep", [f"experiment={name}", "dry_run=true"]))
    if published["paper"]["kind"] != "points":
        return []
    paper = Paper(**published["paper"])
    data = compose("sweep", [f"pair={pair}"]).pair.data
    return [points_table(paper, sweep, quality_differences(paper, published, sweep, data))]


def _analyse(kind: str, sweep: Sweep, device: str) -> Finding:
    import torch
    from hydra import compose

    from evaluation.report.page import Finding
    from experiments.analyses import ANALYSES, analyse
    from experiments.axes import plan_points
    from sampling.plan import make_plan
    from tstitch.errors import UserError
    from tstitch.runs.ranks import choose_device, joined_ranks

    if kind not in ANALYSES:
        raise UserError(f"analyses must be of {', '.join(ANALYSES)}, got {kind!r}")
    # The pair and its sampling are the first point's; what an analysis has of its own stays as it is by default.
    swept = plan_points(resolved(compose("sweep", [*sweep.overrides, "dry_run=true"])))[0].settings
    own = resolved(compose("analyse"))
    shared = {key: swept[key] for key in OF_THE_MODELS}
    settings = {**own, **shared, "device": device, "dry_run": False}
    settings["stitch"] = {**own["stitch"], "fractions": swept["stitch"]["fractions"]}
    with joined_ranks(), torch.inference_mode():
        analysis = analyse(kind, make_plan(settings), settings, choose_device(device, local_rank=0))
    return Finding(kind, analysis.picture, analysis.found)


if __name__ == "__main__":
    run_command("report", main)
