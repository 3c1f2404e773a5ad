"""The settings of `scripts.table` as overrides of an experiment's own, and those that it has no use for."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.report.paper import Paper
from experiments.experiment_files import zoo_pair
from settings.results import TableSettings

WITHOUT_FEATURES = ("fashion",)  # data sets whose reference keeps no features
OF_FEATURES = ("precision", "recall", "kid", "sfid")
FORWARDED = ("num_images", "batch_size", "precision", "ranks", "device")
UNUSED = {"memory": ("num_images", "batch_size", "ranks"), "analysis": ("num_images", "ranks")}  # by kind of experiment
FORMS = {"num_steps": ("sampler.num_steps", "call.num_inference_steps"), "step_counts": ("num_steps", "also")}


def unused_settings(published: dict, settings: TableSettings) -> list[str]:
    """List the settings that have a value and replace nothing in an experiment with the configuration `published`."""
    keys = {override.partition("=")[0] for override in make_overrides(published, settings)}
    have_value = [key for key in (*FORWARDED, *FORMS, "fractions") if getattr(settings, key) is not None]
    return [key for key in have_value if not keys & set(FORMS.get(key, (key,)))]


def make_overrides(published: dict, settings: TableSettings) -> list[str]:
    """Return the overrides of an experiment with the configuration `published`."""
    paper = Paper(**published["paper"])
    if "large" in published:
        return _prompt_overrides(settings, paper)
    overrides = []
    if settings.pairs != "imagenet":
        overrides.append(f"pair={zoo_pair(settings.pairs, published['pair']['name'])}")
    metrics = published["pair"]["evaluation"]["metrics"]
    if settings.pairs in WITHOUT_FEATURES and set(metrics) & set(OF_FEATURES):
        overrides.append(f"pair.evaluation.metrics=[{','.join(own for own in metrics if own not in OF_FEATURES)}]")
    overrides += given(settings, [key for key in FORWARDED if key not in UNUSED.get(paper.kind, ())])
    counts, also = settings.step_counts, published["also"]
    if counts is not None and published["num_steps"] is not None:
        overrides.append(f"num_steps={counts}")
    if counts is not None and also is not None:
        overrides.append(f"also={_flow([{**grid, 'num_steps': counts} for grid in also])}")
    if settings.num_steps is not None and published["num_steps"] is None:
        overrides.append(f"sampler.num_steps={settings.num_steps}")
    if settings.fractions is not None and str(published["fractions"]).count(":"):
        overrides.append(f"fractions={_quoted(settings.fractions)}")
    return overrides


def given(settings: TableSettings, keys: Sequence[str]) -> list[str]:
    """Return the overrides of those settings of the command that have a value."""
    return [f"{key}={value}" for key in keys if (value := getattr(settings, key)) is not None]


def _prompt_overrides(settings: TableSettings, paper: Paper) -> list[str]:
    fractions = settings.fractions or paper.curves[0]["fractions"]
    overrides = [f"fractions={_quoted(fractions)}", *given(settings, FORWARDED)]
    if settings.captions is not None:
        overrides.append(f'captions="{settings.captions}"')
    if settings.num_steps is not None:
        overrides.append(f"call.num_inference_steps={settings.num_steps}")
    return overrides


def _flow(grids: list[dict]) -> str:
    """Mappings in a line, as Hydra reads them."""
    return "[" + ",".join("{" + ",".join(f"{key}:{value}" for key, value in grid.items()) + "}" for grid in grids) + "]"


def _quoted(fractions: object) -> str:
    return f'"{fractions}"' if isinstance(fractions, str) else str(fractions)
