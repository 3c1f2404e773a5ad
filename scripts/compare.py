"""Two results side by side: `python -m scripts.compare a=DIR_OR_FILE b=DIR_OR_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

if TYPE_CHECKING:
    import torch

    from tstitch.runs.ranks import Ranks


def main(config: DictConfig) -> None:
    from evaluation.report.compare import are_paired, compare_results
    from tstitch.runs.ranks import choose_device, joined_ranks

    settings = resolved(config)
    places = [Path(settings[key]) for key in ("a", "b")]
    results = [_read(place) for place in places]
    with joined_ranks() as ranks:
        device = choose_device("auto", 0)
        results = [_current(name, *pair, ranks, device) for name, *pair in zip("ab", places, results, strict=True)]
        print("\n".join(compare_results(*results)))
        if all((place / "run.json").is_file() for place in places) and are_paired(*results):
            print(_verdict(places, results[0]["asked"], ranks, device))


def _read(place: Path) -> dict:
    from tstitch.errors import UserError
    from tstitch.runs.run import read_json

    path = place / "result.json" if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path} does not exist; python -m scripts.evaluate makes it")
    result = read_json(path)
    if not {"metrics", "protocol"} <= result.keys():
        raise UserError(f"{path} is not the result of an evaluation")
    return result


def _current(name: str, place: Path, result: dict, ranks: Ranks, device: torch.device) -> dict:
    """A run's result, scored anew where the run's images or the files it was scored with have changed since."""
    from evaluation.metrics.sources import open_source
    from experiments.evaluation import SETTINGS, extractor_name, load_evaluation
    from experiments.scored import images_digest, read_scoring
    from tstitch.errors import UserError
    from tstitch.runs.run import load_run

    if not (place / "run.json").is_file():
        return result
    asked = result.get("asked")
    if not isinstance(asked, dict) or not set(SETTINGS) <= asked.keys():
        raise UserError(
            f"{place / 'result.json'} does not say what it was scored with; python -m scripts.evaluate run={place} "
            "makes it anew"
        )
    scoring = read_scoring(asked, extractor_name(asked["extractor"]), device)
    if result.get("images_sha256") == images_digest(load_run(place)) and scoring.is_of(result):
        return result
    print(f"{name}: the images, or what they were scored with, have changed since result.json; scored anew")
    return load_evaluation(asked, device, ranks).result(open_source(place), ranks)


def _verdict(places: list[Path], asked: dict, ranks: Ranks, device: torch.device) -> str:
    """Whether run b is worse than run a, from features that are kept beside the runs."""
    from evaluation.metrics.influence import fid_spread
    from evaluation.metrics.sources import open_source
    from evaluation.metrics.spread import describe_difference
    from experiments.evaluation import load_evaluation

    evaluation = load_evaluation(asked, device, ranks)
    sets = (evaluation.features(open_source(place), ranks).pool for place in places)
    fids = fid_spread(sets, evaluation.reference.pool)
    return describe_difference(("a", "b"), float(fids.values[0]), fids.difference(0, 1))


if __name__ == "__main__":
    run_command("compare", main)
