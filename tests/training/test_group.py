"""Several processes train what one would: the same batches, gradients averaged."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.sampling.test_interruptions import torchrun
from tests.scripts.command import PYTHON, run
from training.group import Group
from tstitch.errors import UserError


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    for launcher, name in ((PYTHON, "one"), (torchrun(2), "two")):
        (tmp_path / name).mkdir()
        outcome = run(*launcher, "-m", "tests.training.several", str(tmp_path / name))
        assert outcome.code == 0, outcome.err
        assert outcome.out.count("40/40  loss") == 1
    one, two = (load_file(tmp_path / name / "gradients.safetensors") for name in ("one", "two"))
    assert sum(value.abs().max() > 1e-4 for value in one.values()) > 10
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
    one, two = (float((tmp_path / name / "loss").read_text()) for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-3)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    assert [Group(rank, 3).share(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(UserError, match="batch_size=16 cannot be shared evenly by 3 processes"):
        Group(0, 3).share(16)
