"""Pipeline classes of diffusers, stitched: a few of each kind, all of them in the long test, and the docs' table."""

import re

import diffusers
import pytest

from tests.pipelines.every_class import BEGIN, DOCS, END, check, check_all, table
from tests.pipelines.tiny.pipelines import classes

QUICK = {
    "StableDiffusionControlNetXSPipeline": "pass",  # converts its UNet
    "AnimateDiffPipeline": "pass",
    "KandinskyV22CombinedPipeline": "pass",  # holds pipelines
    "StableDiffusionPAGPipeline": "pass",  # sets attention processors
    "TextToVideoZeroPipeline": "pass",  # replaces its scheduler in the middle
    "LTXImageToVideoPipeline": "pass",  # a timestep for each token
    "CosmosTextToWorldPipeline": "pass",  # steps its scheduler twice a step
    "AmusedPipeline": "pass",  # a network without a timestep
    "PRXPipeline": "pass",  # a normalised timestep
    "StableDiffusionDiffEditPipeline": "pass",  # inverts, then samples
    "StableDiffusionSAGPipeline": "refused",
    "KarrasVePipeline": "refused",
    "ScoreSdeVePipeline": "refused",
    "Flux2KleinKVPipeline": "refused",
    "KandinskyPriorPipeline": "no denoiser",
}


@pytest.mark.parametrize("name", QUICK)
def test_a_class_passes_or_is_refused(name: str) -> None:
    row = check(name, classes()[name])
    assert row.result == QUICK[name], row.why
    assert row.why or row.result == "pass"


def test_the_table_of_the_docs_is_of_this_diffusers() -> None:
    text = DOCS.read_text()
    written = text[text.index(BEGIN) : text.index(END)]
    assert f"diffusers {diffusers.__version__}, {len(classes())} pipeline classes" in written
    names = re.findall(r"`(\w+)`", written.split("| class |")[0]) + re.findall(r"^\| `(\w+)`", written, re.MULTILINE)
    assert sorted(names) == sorted(classes())
    assert "| wrong |" not in written
    assert "| crash |" not in written


@pytest.mark.long
@pytest.mark.slow
def test_no_class_is_wrong_and_none_crashes() -> None:
    rows = check_all()
    bad = [row for row in rows if row.result in ("wrong", "crash")]
    assert not bad, bad
    assert sum(row.result == "pass" for row in rows) >= 215
    assert table(rows).count("\n") > 10
