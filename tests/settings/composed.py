"""Every command's configuration, composed once with the least that it needs, and the fields of its schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from models.checkout import CONFIG_DIR
from settings.base import Settings, choose_group, groups_of
from settings.commands import COMMANDS

NEEDED = {
    "prompts": ["prompt=a cat"],
    "sweep_prompts": ["prompt=a cat"],
    "evaluate": ["run=runs/digits"],
    "compare": ["a=one", "b=two"],
    "choose": ["ms=8"],
    "merge": ["run=runs/digits"],
    "report": ["sweep=runs/sweep"],
    "flatness": ["sweeps=[runs/sweep]", "analyses=[runs/analysis]"],
    "mixtures": ["sweeps=[runs/sweep]"],
    "fronts": ["sweeps=[runs/sweep]"],
}
VARIANTS = {
    "sample with U-Nets": ("sample", ["pair=fashion_unet_s_l"]),
    "sample with a VQ autoencoder": ("sample", ["pair=ldm_s_ldm", "sampler=pndm"]),
    "sample with other schedules": (
        "sample",
        [
            "schedule@pair.schedule=cosine",
            "schedule@pair.denoisers.s.schedule=flow",
            "pair.denoisers.s.prediction=flow",
            "schedule@pair.denoisers.xl.schedule=ve",
        ],
    ),
    "sample with presets": ("sample", ["pair=dit_s_b_xl"]),
    "sweep with further grids": ("sweep", ["experiment=fig15"]),
    "train an autoencoder": ("train", ["recipe=autoencoder"]),
    "train a classifier": ("train", ["recipe=classifier"]),
    "train a U-Net": ("train", ["recipe=unet_s"]),
    "stitch two networks": ("train", ["recipe=snnet"]),
    "sample with a U-ViT": ("sample", ["pair=dit_s_uvit_h"]),
    "sample with a stitched network": ("sample", ["pair=fashion_dit_s_xl_snnet"]),
}
CASES = {**{command: (command, []) for command in COMMANDS}, **VARIANTS}


@contextmanager
def composing() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield


@cache
def composed(case: str) -> dict:
    """Compose a case of `CASES`, with every interpolation filled in. It is shared: copy what is changed."""
    command, more = CASES[case]
    with composing():
        return OmegaConf.to_container(compose(command, [*NEEDED.get(command, []), *more]), resolve=True)


def walk(model: type[Settings], values: dict, place: tuple = ()) -> Iterator[tuple[tuple, type[Settings]]]:
    """Yield the place of every group of settings in composed values, and its model."""
    yield place, model
    for key, info in model.model_fields.items():
        inner = values.get(key)
        if not groups_of(info.annotation) or inner is None:
            continue
        origin = getattr(info.annotation, "__origin__", None)
        if isinstance(inner, list):
            children = [((key, index), entry) for index, entry in enumerate(inner)]
        elif origin is dict:
            children = [((key, name), entry) for name, entry in inner.items()]
        else:
            children = [((key,), inner)]
        for keys, entry in children:
            yield from walk(choose_group(groups_of(info.annotation), entry), entry, (*place, *keys))
