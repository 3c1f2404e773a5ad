"""The paper's numbers in the configurations are those of docs/paper.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from settings.names import OF_PAPER
from tests.conftest import ROOT

SECTIONS = {
    text.partition("\n")[0]: text for text in re.split(r"^###? ", (ROOT / "docs/paper.md").read_text(), flags=re.M)[1:]
}
# The rows and columns of the document's tables in which a key's numbers may stand.
NAMES = {
    "fid": {"FID"},
    "inception_score": {"IS"},
    "precision": {"Precision"},
    "recall": {"Recall"},
    "clip_score": {"CLIP"},
    "time_s": {"time s", "SD v1.4", "canny"},
    "parameters_m": {"parameters M"},
    "gflops": {"FLOPs G"},
    "storage_mb": {"storage MB"},
    "memory_mb": {"memory MB"},
    "time_s_bk_sdm_small": {"BK-SDM-Small"},
    "time_s_depth": {"depth"},
    "time_s_pose": {"pose"},
}
SAMPLERS = {"ddpm": "DDPM", "ddim": "DDIM", "dpmpp_2m": "DPM-Solver++"}
OTHER_KEYS = {"fractions", "sampler", "num_steps", "order", "name", "section"}
EXPERIMENTS = [ROOT / "configs/experiment" / f"{name}.yaml" for name in OF_PAPER]
PROMPTS = sorted((ROOT / "configs/prompts").glob("*.yaml"))


def read_cells(section: str) -> list[tuple[set[str], float | None]]:
    """Return each number of a section's tables with the names of its row and column; "-" is None, ms become s."""
    cells = []
    for table in re.findall(r"(?:^\|.*\n)+", SECTIONS[section], flags=re.M):
        lines = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in table.splitlines()]
        for line in lines[2:]:
            for column, cell in zip(lines[0][1:], line[1:], strict=True):
                names = {re.sub(r" \(.*\)$", "", name.strip("`")) for name in (line[0], column)}
                number = re.match(r"[~(]?(\d+(?:\.\d+)?)", cell)
                value = float(number[1]) if number else None
                if "time ms" in names:
                    names, value = names - {"time ms"} | {"time s"}, value / 1000
                if number or cell == "-":
                    cells.append((names, value))
    return cells


def find_cell(section: str, names: set[str]) -> float | None:
    """Return the number of the one cell whose row and column are both among the names."""
    matches = [value for cell, value in read_cells(section) if cell <= names]
    assert len(matches) == 1, f"{section}: {names} are {len(matches)} cells"
    return matches[0]


def fraction_name(fractions: float | list[float]) -> str:
    if isinstance(fractions, list):
        return "/".join(f"{100 * fraction:.0f}" for fraction in fractions)
    return f"{fractions:g}"


def paper_numbers(paper: dict) -> Iterator[tuple[set[str], float | None]]:
    """Yield each number of a `paper:` block with every name that its row or column may have."""
    pair = set(re.findall(r"DiT-\w+ to DiT-\w+", paper.get("title", "")))
    for entry in [*paper.get("models", []), *paper.get("rows", [])]:
        name = entry["name"] if "name" in entry else fraction_name(entry["fractions"])
        assert entry.keys() <= NAMES.keys() | OTHER_KEYS
        yield from (({name, *NAMES[key]}, value) for key, value in entry.items() if key in NAMES)
    for curve in paper.get("curves", [paper] if "fractions" in paper else []):
        assert curve.keys() <= NAMES.keys() | OTHER_KEYS
        own = {*pair, str(curve.get("order")).replace("_", " "), str(curve.get("name"))}
        own |= {f"{SAMPLERS[curve['sampler']]}, {curve['num_steps']} steps"} if "sampler" in curve else set()
        for key in curve.keys() & NAMES.keys():
            for fractions, value in zip(curve["fractions"], curve[key], strict=True):
                yield {fraction_name(fractions), *NAMES[key], *own}, value


def numbers_in(text: object) -> set[float]:
    return {float(number.replace(",", "")) for number in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", str(text))}


@pytest.mark.parametrize("path", [*EXPERIMENTS, *PROMPTS], ids=lambda path: path.stem)
def test_every_number_stands_in_the_section_that_is_named(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    paper = config["paper"]
    if path.stem in ("trajectory", "bk_sdm_tiny"):
        assert "section" not in paper
        assert not list(paper_numbers(paper))
        return
    section = paper["section"]
    for names, value in paper_numbers(paper):
        assert find_cell(section, names) == value, names
    for metric, value in paper.get("tolerance", {}).items():
        assert find_cell("Tolerances", {path.stem, *NAMES[metric]}) == value
    protocol = paper.get("protocol", {})
    if "num_images" in protocol:
        assert f"{protocol['num_images']:,} images" in " ".join(SECTIONS[section].split())
    settings = [config.get(key) for key in ("num_steps", "guidance_scales")] if path in EXPERIMENTS else []
    stated = numbers_in([paper.get("title"), paper.get("note"), protocol.get("guidance_scale"), *settings])
    assert stated <= numbers_in(SECTIONS[section]), stated - numbers_in(SECTIONS[section])


def test_every_number_of_those_tables_is_in_a_configuration() -> None:
    papers = [yaml.safe_load(path.read_text())["paper"] for path in (*EXPERIMENTS, *PROMPTS)]
    for section in {paper["section"] for paper in papers if "section" in paper}:
        named = [names for paper in papers if paper.get("section") == section for names, _ in paper_numbers(paper)]
        for cell, _ in read_cells(section):
            assert "training iterations" in cell or any(cell <= names for names in named), (section, cell)
