"""Experiments as files: which there are, and the files that a page of one is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose

from models.checkout import CONFIG_DIR
from sampling.configuration import checked, plain
from settings.names import DATA_SETS, OURS
from settings.sweep import SweepSettings
from settings.sweep_prompts import PromptSweepSettings
from tstitch.errors import UserError
from tstitch.runs.atomic import write_atomically
from tstitch.runs.outputs import check_output

if TYPE_CHECKING:
    from experiments.tables import Page

ZOO_NAMES = {
    "ldm_s_ldm": "unet_s_l",
    "dit_s_uvit_h": "dit_s_unet_l",
}  # pairs of the zoo that are not named as the paper's
BASE_OF_PROMPTS = "bk_sdm_tiny"  # the settings that the others begin with, no experiment of the paper


def zoo_pair(data: str, pair: str) -> str:
    """Return the name of the zoo's pair that stands for one of the paper."""
    return f"{data}_{ZOO_NAMES.get(pair, pair)}"


def paper_pair(pair: str) -> str:
    """Return the name of the pair of the paper that a pair stands for: itself where it is none of the zoo's."""
    data, _, name = pair.partition("_")
    if data not in DATA_SETS:
        return pair
    return {zoo: paper for paper, zoo in ZOO_NAMES.items()}.get(name, name)


def find_experiments(name: str | None, pairs: str = "imagenet") -> list[str]:
    """Find the experiments of a name: itself, or those that begin with it and an underscore.

    Without a name they are all that the pairs have: of a data set of the zoo those whose pair it has a counterpart
    of, and none of text-to-image pipelines.
    """
    groups = ("experiment", "prompts") if pairs == "imagenet" else ("experiment",)
    known = sorted(path.stem for group in groups for path in (CONFIG_DIR / group).glob("*.yaml"))
    known = [each for each in known if each not in (BASE_OF_PROMPTS, *OURS)]
    names = known if name is None else [each for each in known if each == name or each.startswith(f"{name}_")]
    if not names:
        raise UserError(f"unknown experiment {name!r}; known: {', '.join(known)}")
    if pairs == "imagenet":
        return names
    available = [each for each in names if _has_pair(pairs, each)]
    if not available or (name is not None and len(available) < len(names)):
        missing = next(each for each in names if each not in available)
        raise UserError(f"{missing} is of {_pair_of(missing)}, and {pairs} has no pair that stands for it")
    return available


def _pair_of(name: str) -> str:
    return compose_experiment(name)["pair"]["name"]


def _has_pair(data: str, name: str) -> bool:
    return (CONFIG_DIR / "pair" / f"{zoo_pair(data, _pair_of(name))}.yaml").is_file()


def is_of_prompts(name: str) -> bool:
    """Tell whether an experiment is of a text-to-image pipeline."""
    return (CONFIG_DIR / "prompts" / f"{name}.yaml").is_file()


def compose_experiment(name: str) -> dict:
    """The configuration of the sweep that an experiment of the paper is; what it leaves to the user is null."""
    command, override = _of_sweep(name)
    return plain(compose(command, [override]))


def check_experiment(name: str, overrides: Sequence[str]) -> SweepSettings | PromptSweepSettings:
    """The settings of that sweep with other values.

    Raises:
        UserError: a value that cannot be, or none where one is needed.
    """
    command, override = _of_sweep(name)
    return checked(command, compose(command, [override, *overrides]))


def _of_sweep(name: str) -> tuple[str, str]:
    """The command that runs an experiment, and the override that says which."""
    return ("sweep_prompts", f"prompts={name}") if is_of_prompts(name) else ("sweep", f"experiment={name}")


def check_takes_sweep(name: str | None, names: list[str]) -> None:
    """Raise `UserError` unless a finished sweep can be read for the experiments of a name."""
    if len(names) != 1:
        raise UserError(f"sweep= is for one experiment; name={name} is {len(names)}: {', '.join(names)}")
    if compose_experiment(names[0])["paper"]["kind"] == "analysis":
        raise UserError(f"sweep= has no meaning for name={names[0]}: it is an analysis, which reads no sweep")


def check_takes_captions(names: Sequence[str]) -> None:
    """Raise `UserError` unless one of the experiments is from prompts."""
    if not any(map(is_of_prompts, names)):
        raise UserError(f"captions= is for tables from prompts, and none of these is: {', '.join(names)}")


def check_outputs(out: Path, names: Sequence[str], with_index: bool) -> None:
    """Check that the pages of experiments, and the index of all, may be written to a directory."""
    for name in names:
        beside = [out / f"{name}.{suffix}" for suffix in ("csv", "tex", "png", "svg")]
        check_output(out / f"{name}.md", "a table", beside=beside)
    if with_index:
        check_output(out / "README.md", "a list of tables")


def write_page(page: Page, name: str, out: Path) -> str:
    """Write a page as Markdown, CSV and LaTeX, and its picture as PNG and SVG; return the Markdown of its table."""
    from evaluation.report.figures import save
    from evaluation.report.render import FORMATS, markdown

    for suffix, render in FORMATS.items():
        write_atomically(out / f"{name}.{suffix}", render(page.table).encode())
    text = markdown(page.table)
    if page.picture is not None:
        save(page.picture, out / f"{name}.png", out / f"{name}.svg")
        text += f"\n![{page.table.title}]({name}.png)\n"
    write_atomically(out / f"{name}.md", f"{text}\n```\n{page.command}\n```\n".encode())
    return text


def write_index(titles: Mapping[str, str], pairs: str, out: Path) -> None:
    """Write a page with a link to that of each experiment, by name and title."""
    links = [f"- [{title}]({name}.md)" for name, title in titles.items()]
    text = "\n".join([f"# The paper's tables and figures, {pairs}", "", *links, ""])
    write_atomically(out / "README.md", text.encode())
