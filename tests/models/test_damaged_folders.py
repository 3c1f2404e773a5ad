"""Pipelines in diffusers' layout whose JSON files are damaged: one line that names the folder, and never a crash."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.pipelines import PipelineSpec, check_files, digests, load_pipeline
from tests.damage import damaged_bytes, write_damaged
from tests.sampling.prompt_runs import save_weights
from tstitch.errors import UserError

WRONG = (None, "text", -7, [], {}, [None])
FIELDS = {
    "model_index.json": ("_class_name", "unet", "vae", "scheduler", "tokenizer"),
    "scheduler/scheduler_config.json": ("_class_name", "num_train_timesteps", "beta_schedule", "beta_start"),
    "unet/config.json": ("_class_name", "block_out_channels", "in_channels"),
    "vae/config.json": ("_class_name", "latent_channels"),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights")) / "large"


def load(folder: Path) -> None:
    spec = PipelineSpec(folder, (), None, None, None, (), None, ())
    check_files(spec)
    digests(spec)
    load_pipeline(spec, (0, 0), torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("name", FIELDS)
def test_damaged_settings_of_a_pipeline_name_their_folder(tmp_path: Path, weights: Path, name: str) -> None:
    folder = tmp_path / "large"
    shutil.copytree(weights, folder)
    load(folder)
    path = folder / name
    good = path.read_bytes()
    for damage, data in damaged_bytes(good).items():
        path.write_bytes(data)
        with pytest.raises(UserError) as refused:
            load(folder)
        assert str(folder) in str(refused.value), damage
        assert "\n" not in str(refused.value), damage
    for field in FIELDS[name]:
        for wrong in WRONG:
            write_damaged(path, {**json.loads(good), field: wrong})
            try:
                load(folder)
            except UserError as error:
                assert str(folder) in str(error), (field, wrong)
