"""Names and shapes that the schema writes again are those of the packages that it may not import."""

from dataclasses import MISSING, fields
from typing import get_args

import pytest

import models.autoencoder
import models.networks.uvit
import models.placement.compiled
import models.placement.precision
import settings.allocation
import settings.over_fractions
import tstitch.allocate
import tstitch.allocation
import tstitch.convention
import tstitch.schedule
from evaluation.metrics import evaluate, extractors
from evaluation.metrics.clip_score import CLIP_SCORE
from experiments.analyses import ANALYSES
from experiments.axes import AXES
from experiments.evaluation import ALIASES, SETTINGS
from models.families import FAMILIES
from models.networks.dit import PATCH_SIZES, SIZES, DiTConfig
from models.networks.unet import UNetConfig
from models.networks.vq import VQConfig
from sampling.foreign import FOREIGN
from settings import names, networks, pair, train
from settings.base import groups_of, kind_of
from settings.commands import COMMANDS
from settings.kinds import kinds_of
from training.optimizers import OptimizerSettings
from training.recipes import RECIPES
from training.trainer import TrainerSettings
from tstitch.solvers.make import SAMPLERS


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (names.PRECISIONS, models.placement.precision.DTYPES),
        (names.COMPILE_MODES, models.placement.compiled.MODES),
        (names.AUTOENCODERS, models.autoencoder.KINDS),
        (names.RULES, tstitch.allocation.RULES),
        (names.ORDERS, tstitch.allocate.ORDERS),
        (names.STITCH_WORDS, tstitch.allocate.KINDS),
        (names.GRIDS, tstitch.schedule.GRIDS),
        (names.PREDICTIONS, tstitch.convention.PREDICTIONS),
        (networks.UVIT_PRESETS, models.networks.uvit.SIZES),
        (names.SCHEDULES, tstitch.schedule.SCHEDULES),
        (names.ANALYSES, ANALYSES),
        (names.METRICS, (*evaluate.METRICS, CLIP_SCORE)),
        (
            sorted(names.EXTRACTORS),
            sorted({*extractors.CLASSIFIERS, extractors.INCEPTION, extractors.DINOV2, *ALIASES}),
        ),
        (names.files_of("sampler"), sorted(SAMPLERS)),
        (settings.allocation.FOREIGN, FOREIGN),
        (settings.over_fractions.AXES, AXES),
        (sorted(pair.Evaluation.model_fields), sorted([*SETTINGS, "clip"])),
        ([model.kind_name for model in groups_of(networks.Denoiser)], FAMILIES),
        (sorted(model.kind_name for model in groups_of(train.AnyRecipe)), sorted(RECIPES)),
        (networks.PRESETS, [f"DiT-{size}/{patch}" for size in SIZES for patch in PATCH_SIZES]),
    ],
)
def test_names_are_the_same(ours, theirs) -> None:
    assert list(ours) == list(theirs)


@pytest.mark.parametrize(
    ("group", "configuration", "only_here"),
    [
        (networks.DiTShape, DiTConfig, {"preset"}),
        (networks.UNetShape, UNetConfig, set()),
        (networks.VQShape, VQConfig, set()),
        (train.Trainer, TrainerSettings, set()),
        (train.Optimizer, OptimizerSettings, set()),
    ],
)
def test_shapes_have_the_same_fields_and_defaults(group, configuration, only_here: set[str]) -> None:
    theirs = {field.name: field.default for field in fields(configuration)}
    assert set(group.model_fields) == theirs.keys() | only_here
    for name, default in theirs.items():
        info = group.model_fields[name]
        if default is not MISSING:
            assert info.default == default and type(info.default) is type(default), name
        elif name not in networks.OF_PRESET or group is not networks.DiTShape:
            assert info.is_required(), name


FREE = {"paper"}  # an experiment's numbers, which `tests/experiments/test_paper.py` compares with the documentation


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_has_a_type_of_ours_and_a_sentence(command: str) -> None:
    """The tests of values go by these types, and help by the sentences."""
    models, seen = [COMMANDS[command]], set()
    while models:
        model = models.pop()
        if model in seen:
            continue
        seen.add(model)
        for key, info in model.model_fields.items():
            assert info.description, (model, key)
            models += groups_of(info.annotation)
            entries = [kind for part in get_args(info.annotation) for kind in kinds_of(part)]
            assert kind_of(info) or groups_of(info.annotation) or entries or key in FREE, (model, key)
