"""A report on finished sweeps: what it reads, with ours beside the paper's."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from hydra import compose

from evaluation.report.analysis_plots import read_analyses
from evaluation.report.content import Report, make_report, reproduce
from evaluation.report.paper import Paper
from evaluation.report.render import Table
from evaluation.report.sweep import Sweep, read_sweep
from evaluation.report.tables import points_table
from experiments.experiment_files import compose_experiment, is_of_prompts, paper_pair
from experiments.tables import quality_differences
from settings.results import ReportSettings
from tstitch.errors import UserError


def sweep_directories(settings: ReportSettings) -> list[Path]:
    """Return the directories that `sweep` or `sweeps` name."""
    directories = [Path(directory) for directory in settings.sweeps or [settings.sweep]]
    places = [os.path.realpath(directory) for directory in directories]  # `resolve` raises on a link to itself
    twice = next((each for each, place in zip(directories, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"sweeps names the directory {twice} twice; give each once")
    return directories


def read_report(directories: list[Path], settings: ReportSettings) -> Report:
    """Read sweeps and analyses, and put them together."""
    sweeps = [(read_sweep(directory), directory) for directory in directories]
    analyses = read_analyses([Path(place) for place in settings.analyses])
    names = ",".join(map(str, directories))
    places = [f"sweep={names}" if len(directories) == 1 else f"sweeps=[{names}]"]
    places += [f"paper={settings.paper}"] if settings.paper else []
    places += [f"analyses=[{','.join(map(str, settings.analyses))}]"] if analyses else []
    command = shlex.join(["python", "-m", "scripts.report", *places])
    commands = [*(reproduce(sweep) for sweep, _ in sweeps), command]
    return make_report(sweeps, analyses, commands, lambda sweep: beside_paper(sweep, settings))


def beside_paper(sweep: Sweep, settings: ReportSettings) -> list[Table]:
    """Make the table of a sweep beside the paper's numbers; none where the paper has none for its pair."""
    pair = sweep.protocol["pair"]
    name = settings.paper or settings.beside.get(paper_pair(pair))
    if name is None:
        return []
    published = compose_experiment(name)
    if published["paper"]["kind"] != "points":
        if settings.paper is not None:
            raise UserError(f"paper={name} is no table of points that a sweep could stand beside")
        return []
    paper = Paper(**published["paper"])
    data = None if is_of_prompts(name) else compose("sweep", [f"pair={pair}"]).pair.data
    return [points_table(paper, sweep, quality_differences(paper, published, sweep, data))]
