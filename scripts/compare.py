"""Two results side by side: `python -m scripts.compare a=DIR_OR_FILE b=DIR_OR_FILE`."""

from pathlib import Path

from omegaconf import DictConfig

from scripts.cli import resolved, run_command


def main(config: DictConfig) -> None:
    from evaluation.compare import are_paired, compare_results

    settings = resolved(config)
    places = [Path(settings[key]) for key in ("a", "b")]
    results = [_read(place) for place in places]
    print("\n".join(compare_results(*results)))
    if all((place / "run.json").is_file() for place in places) and are_paired(*results):
        print(_verdict(places))


def _read(place: Path) -> dict:
    from tstitch.errors import UserError
    from tstitch.run import read_json

    path = place / "result.json" if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path} does not exist; python -m scripts.evaluate makes it")
    result = read_json(path)
    if not {"metrics", "protocol"} <= result.keys():
        raise UserError(f"{path} is not the result of an evaluation")
    return result


def _verdict(places: list[Path]) -> str:
    """Whether run b is worse than run a, from features that are kept beside the runs."""
    from evaluation.influence import fid_spread
    from evaluation.sources import open_source
    from evaluation.spread import describe_difference
    from scripts.evaluation import load_evaluation
    from tstitch.ranks import choose_device, joined_ranks
    from tstitch.run import read_json

    with joined_ranks() as ranks:
        evaluation = load_evaluation(read_json(places[0] / "run.json")["evaluation"], choose_device("auto", 0), ranks)
        sets = (evaluation.features(open_source(place), ranks).pool for place in places)
        fids = fid_spread(sets, evaluation.reference.pool)
    return describe_difference(("a", "b"), float(fids.values[0]), fids.difference(0, 1))


if __name__ == "__main__":
    run_command("compare", main)
