"""The recipes of docs/pipelines.md: what they import exists, and what they call takes what it is given."""

import ast
import inspect
import re

import diffusers
import pytest

import tstitch
from tests.conftest import ROOT
from tstitch.allocate import ALIASES, KINDS
from tstitch.dropin.stitched import StitchedDenoiser

TEXT = (ROOT / "docs" / "pipelines.md").read_text()
RECIPES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_what_a_recipe_imports_and_calls_exists(recipe: str) -> None:
    tree = ast.parse(recipe)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), "recipe", "exec"), {})
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id == "stitch":
            known = {*inspect.signature(tstitch.stitch).parameters, *KINDS, *ALIASES}
            assert {keyword.arg for keyword in call.keywords} <= known
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("allocate", "describe", "addressing"):
            assert hasattr(StitchedDenoiser, call.func.attr)
        if isinstance(call.func, ast.Attribute) and call.func.attr.startswith("enable_"):
            kinds = {"pipe": diffusers.StableDiffusionXLPipeline, "pipe.vae": diffusers.AutoencoderKL}
            assert hasattr(kinds[ast.unparse(call.func.value)], call.func.attr)


def test_the_docs_name_every_experiment() -> None:
    assert len(RECIPES) == 12
    for path in (ROOT / "configs/prompts").glob("*.yaml"):
        assert path.stem in TEXT or path.stem == "bk_sdm_tiny"
