"""The sampler of two checkouts in turns."""

from pathlib import Path

import pytest

from benchmarks.commits import compare
from tests.conftest import ROOT


@pytest.mark.long
def test_a_commit_is_timed_beside_this_checkout_and_leaves_no_worktree(tmp_path: Path) -> None:
    result = compare("HEAD", ["pair=digits_dit_s_xl", "repeats=1", "sampler.num_steps=2"], turns=1)
    assert list(result["median_ratio"]) == ["0", "0.4", "1"]
    assert all(len(ratios) == 1 and ratios[0] > 0 for ratios in result["ratios"].values())
    assert not list((ROOT / ".git/worktrees").glob("*"))
