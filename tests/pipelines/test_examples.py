"""The examples in the docstrings of the drop-in, on a tiny pipeline."""

import doctest
import math
from importlib.resources import files

import pytest

from tests.pipelines.families import FAMILIES, unet
from tstitch import LatentChange, expect_time, fit_budget, stitch, unstitch
from tstitch.dropin.stitched import StitchedDenoiser

PUBLIC = (
    stitch, unstitch, StitchedDenoiser.allocate, StitchedDenoiser.describe, StitchedDenoiser.plan,
    StitchedDenoiser.addressing, fit_budget, expect_time, LatentChange,
)  # fmt: skip


@pytest.mark.parametrize("function", PUBLIC, ids=lambda each: each.__name__)
def test_the_example_of_a_docstring_runs(function: object) -> None:
    pipe = FAMILIES["sd"].build()
    pipe.set_progress_bar_config(disable=True)
    names = {"pipe": pipe, "small": unet("small"), "stitch": stitch, "unstitch": unstitch, "fit_budget": fit_budget}
    names |= {"LatentChange": LatentChange, "math": math, "expect_time": expect_time}
    examples = doctest.DocTestFinder().find(getattr(function, "__wrapped__", function), globs=names, module=False)
    assert sum(len(example.examples) for example in examples) > 1
    runner = doctest.DocTestRunner()
    failures: list[str] = []
    for example in examples:
        runner.run(example, out=failures.append)
    assert not failures, "".join(failures)


def test_the_library_says_that_it_has_types() -> None:
    assert (files("tstitch") / "py.typed").is_file()
