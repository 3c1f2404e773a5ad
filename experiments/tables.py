"""One experiment to a page: what is run or read, how it compares with the paper, the picture."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra import compose
from matplotlib.figure import Figure

from evaluation.report.analysis_plots import draw_analysis
from evaluation.report.paper import Paper, protocol_differences
from evaluation.report.plots import draw_curves
from evaluation.report.render import Table
from evaluation.report.sweep import Sweep, read_sweep
from evaluation.report.tables import ModelRow, memory_table, missing_table, models_table, points_table
from experiments.analyses import analyse
from experiments.axes import PlannedPoint, plan_points
from experiments.experiment_files import check_experiment, compose_experiment, is_of_prompts
from experiments.model_facts import describe_total_cost, model_row, model_rows
from experiments.sweep import POINTS, Swept, sweep_points
from experiments.table_overrides import FORWARDED, given, make_overrides, unused_settings
from models.checkout import ROOT
from sampling.configuration import checked
from sampling.cost import missing_evaluation, missing_weights
from sampling.jobs import check_prompt_inputs
from sampling.plan import make_plan
from settings.results import TableSettings
from settings.sweep import SweepSettings
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json
from tstitch.runs.machine import device_name
from tstitch.runs.ranks import choose_device, joined_ranks


@dataclass(frozen=True)
class Page:
    """A finished page of an experiment."""

    table: Table
    picture: Figure | None
    command: str
    failed: list[str]


def make_page(name: str, settings: TableSettings) -> Page:
    """Run what an experiment lacks, or read a sweep, and put ours beside the paper's."""
    published = compose_experiment(name)
    unused = unused_settings(published, settings)
    page = _make_page(name, settings, published, unused)
    if not unused:
        return page
    note = f"Without effect here: {', '.join(given(settings, unused))}."
    return replace(page, table=replace(page.table, notes=[*page.table.notes, note]))


def _make_page(name: str, settings: TableSettings, published: dict, unused: list[str]) -> Page:
    paper = Paper(**published["paper"])
    overrides = make_overrides(published, settings)
    plain = given(settings, [key for key in (*FORWARDED, "captions", "num_steps") if key not in unused])
    quoted = given(settings, [key for key in ("step_counts", "fractions") if key not in unused])
    command = f"python -m scripts.table name={name} pairs={settings.pairs}"
    command += "".join(f" {override}" for override in plain) + "".join(f" '{override}'" for override in quoted)
    if settings.sweep is not None:
        command += f" sweep={shlex.quote(settings.sweep)}" + " mix_protocols=true" * settings.mix_protocols
    if paper.kind == "analysis":
        return _analysis_page(paper, [f"experiment={name}", *overrides], command)
    reason = _explain_missing_inputs(name, overrides)
    if reason is not None and settings.sweep is None:
        return Page(missing_table(paper, [reason]), None, command, [])
    planned = [] if reason is not None else plan_points(check_experiment(name, [*overrides, "dry_run=true"]))
    plans = [point.plan for point in planned]
    cost = [] if is_of_prompts(name) or settings.sweep is not None else [describe_total_cost(plans)]
    if settings.sweep is not None:
        sweep, swept = read_sweep(Path(settings.sweep)), None
        _check_pair(sweep, planned, settings.sweep)
    elif missing := [*missing_weights(plans), *missing_evaluation(plans)]:
        return Page(_without_weights(paper, planned, [*missing, *cost]), None, command, [])
    else:
        swept = _run(name, overrides, settings)
        sweep = swept.sweep
    if sweep is None:
        return Page(missing_table(paper, swept.failed), None, command, swept.failed)
    differences = quality_differences(paper, published, sweep, _data_of(planned))
    judged = [] if settings.mix_protocols else differences
    table = _table(paper, sweep, planned, swept, judged)
    notes = [*table.notes, *cost, f"Measured on {sweep.timed_on}, {sweep.protocol['precision']}."]
    if differences and not judged:
        notes.append(f"Judged although the protocols differ: {'; '.join(differences)}.")
    picture = draw_curves(sweep) if paper.kind == "points" and len(sweep.points) > 1 else None
    return Page(replace(table, notes=notes), picture, command, [] if swept is None else swept.failed)


def _explain_missing_inputs(name: str, overrides: list[str]) -> str | None:
    """Why an experiment from prompts cannot run here: no captions, or files that are not there; None where it can."""
    if not is_of_prompts(name):
        return None
    try:
        check_prompt_inputs(check_experiment(name, overrides))
    except UserError as error:
        return str(error)
    return None


def _check_pair(sweep: Sweep, planned: list[PlannedPoint], place: str) -> None:
    """Raise `UserError` where a finished sweep is of another pair than the experiment."""
    settings = planned[0].settings if planned else None
    if isinstance(settings, SweepSettings) and sweep.protocol["pair"] != settings.pair.name:
        raise UserError(f"sweep={place} is of {sweep.protocol['pair']}, the experiment of {settings.pair.name}")


def _data_of(planned: list[PlannedPoint]) -> str | None:
    """Return the data set of our pair; None for a pipeline, and where nothing was planned."""
    settings = planned[0].settings if planned else None
    return settings.pair.data if isinstance(settings, SweepSettings) else None


def _run(name: str, overrides: list[str], settings: TableSettings) -> Swept:
    points = settings.points or str(ROOT / "runs" / POINTS)
    out = ROOT / "runs" / "tables" / f"{name}-{settings.pairs}" if settings.points is None else None
    out = out or Path(points).parent / f"{name}-{settings.pairs}"
    own = check_experiment(name, [*overrides, f'points="{points}"', f'out="{out}"'])
    device = choose_device(own.device, local_rank=0, local_world_size=own.ranks or 1)
    group = "prompts" if is_of_prompts(name) else "experiment"
    return sweep_points(plan_points(own), own, [f"{group}={name}", *overrides], device, may_replace=True)


def _table(
    paper: Paper, sweep: Sweep, planned: list[PlannedPoint], swept: Swept | None, differences: list[str]
) -> Table:
    if paper.kind == "points":
        return points_table(paper, sweep, differences)
    if paper.kind == "models":
        return models_table(paper, model_rows(planned[0].plan), sweep, differences)
    return memory_table(paper, _memory_rows(planned, swept), sweep, differences)


def _memory_rows(planned: list[PlannedPoint], swept: Swept | None) -> list[ModelRow]:
    peaks = [None] * len(planned)
    if swept is not None and len(swept.runs) == len(planned):
        records = [read_json(run.record)["peak_memory_mb"] for run in swept.runs]
        peaks = [record.get("device", record["host"]) for record in records]
    return [
        replace(
            model_row(point.plan, point.plan.used, point.plan.fractions, peak),
            asked=tuple(place["fractions"] for place in point.asked),
        )
        for point, peak in zip(planned, peaks, strict=True)
    ]


def _without_weights(paper: Paper, planned: list[PlannedPoint], reasons: list[str]) -> Table:
    """Make the table that needs no weights: the paper's numbers, parameters and operations of our networks."""
    if paper.kind == "models":
        table = models_table(paper, model_rows(planned[0].plan), None, [])
    elif paper.kind == "memory":
        table = memory_table(paper, _memory_rows(planned, None), None, [])
    else:
        return missing_table(paper, reasons)
    return replace(table, notes=[*reasons, *table.notes])


def quality_differences(paper: Paper, published: dict, sweep: Sweep, data: str | None) -> list[str]:
    """List what was measured differently from the paper, as far as it bears on quality.

    Args:
        published: the experiment's settings as the paper has them.
        data: what our pair was trained on.
    """
    first, protocol = sweep.points[0], sweep.protocol
    extractor, reference = protocol.get("extractor", "none"), protocol.get("reference", "none")
    is_adm = extractor.startswith("inception") and "VIRTUAL_imagenet" in reference
    scale = first.guidance_scale
    ours = {
        "data": data,
        "num_images": protocol["num_images"],
        "guidance_scale": float(scale) if isinstance(scale, int | float) else scale,
        "evaluator": "ADM" if is_adm else f"{extractor} over {reference}",
        "num_steps": first.num_steps,
    }
    theirs = {key: value for key, value in paper.protocol.items() if key != "timed_on"}
    if published["num_steps"] is None:
        in_call = published.get("call", {}).get("num_inference_steps")
        theirs["num_steps"] = in_call or published["sampler"]["num_steps"]
    if "sampler" in published and published["samplers"] is None:
        theirs["sampler"], ours["sampler"] = published["sampler"]["name"], first.sampler
    return protocol_differences(replace(paper, protocol=theirs), ours)


def _analysis_page(paper: Paper, overrides: list[str], command: str) -> Page:
    own = checked("analyse", compose("analyse", overrides))
    dry = make_plan(own.changed(dry_run=True))
    missing = missing_weights([dry])
    if missing:
        return Page(missing_table(paper, [*missing, describe_total_cost([dry])]), None, command, [])
    device = choose_device(own.device, local_rank=0)
    with joined_ranks(), torch.inference_mode():
        analysis = analyse(own.analysis, make_plan(own), own, device)
    how = f"{own.sampler.name.upper()}, {len(dry.timesteps)} steps"
    where = f"{own.pair.name}, {how}, {own.num_images} images, {dry.precision}, on {device_name(device)}."
    notes = [*analysis.sentences, *paper.notes, where]
    picture = draw_analysis(own.analysis, analysis.data)
    return Page(Table(paper.title, analysis.columns, analysis.rows, notes), picture, command, [])
