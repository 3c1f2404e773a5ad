"""A training's own files when damaged: one line that names the file, and nothing of it is replaced."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.damage import GARBAGE, damaged_bytes
from training.directory import check_directory
from training.trainer import _restore, _save
from tstitch.errors import UserError
from tstitch.runs.json_files import write_json


def restore(path: Path) -> tuple:
    module = nn.Linear(3, 2)
    return _restore(path, module, nn.Linear(3, 2), [torch.optim.SGD(module.parameters(), lr=0.1)])


def written(path: Path, *progress: object) -> bytes:
    module = nn.Linear(3, 2)
    _save(path, module, module, [torch.optim.SGD(module.parameters(), lr=0.1)], *progress)
    return path.read_bytes()


def test_a_damaged_checkpoint_of_a_training_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    good = written(path, 2, 0.5, [1.0, 0.9])
    assert restore(path) == (2, 0.5, [1.0, 0.9])
    for damage in (b"", b"hello", GARBAGE, good[: len(good) // 2], good[:-10], good[:200] + GARBAGE + good[200:]):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"checkpoint\.pt is no checkpoint of this training, or a damaged one"):
            restore(path)
        assert path.read_bytes() == damage
    for content in ([], 3, {}, {"module": {}, "average": {}, "optimizers": [], "progress": [0, 0.0, []]}):
        torch.save(content, path)
        with pytest.raises(UserError, match=r"checkpoint\.pt is no checkpoint"):
            restore(path)


@pytest.mark.parametrize("progress", [(2, 0.5, [1.0]), (2, 0.5, [1.0, float("nan")]), ("2", 0.5, []), (0, None, [])])
def test_progress_that_cannot_be_is_refused(tmp_path: Path, progress: tuple) -> None:
    written(tmp_path / "checkpoint.pt", *progress)
    with pytest.raises(UserError, match="progress must have"):
        restore(tmp_path / "checkpoint.pt")


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    torch.save({"module": print}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="is no checkpoint"):
        restore(tmp_path / "checkpoint.pt")


def test_a_damaged_recipe_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    write_json(path, {"name": "a"})
    check_directory(tmp_path, {"name": "a"})
    good = path.read_bytes()
    for damage, data in damaged_bytes(good).items():
        path.write_bytes(data)
        with pytest.raises(UserError) as refused:
            check_directory(tmp_path, {"name": "a"})
        assert str(tmp_path) in str(refused.value), damage
        assert path.read_bytes() == data
