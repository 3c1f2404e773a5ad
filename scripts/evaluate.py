"""Score images against a reference; also under torchrun.

python -m scripts.evaluate run=DIR
python -m scripts.evaluate samples=FILE.npz reference=FILE.npz 'metrics=[fid,sfid,inception_score,precision,recall]'
"""

from pathlib import Path

from omegaconf import DictConfig

from sampling.configuration import resolved
from scripts.cli import run_command

FROM_RUN = ("extractor", "extractor_weights", "reference", "metrics", "bootstrap")


def main(config: DictConfig) -> None:
    from evaluation.metrics.sources import open_source
    from experiments.evaluation import load_evaluation
    from models.checkout import resolve_path
    from tstitch.errors import UserError
    from tstitch.runs.outputs import check_output
    from tstitch.runs.progress import Counter
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.run import load_run, read_json, write_json

    settings = resolved(config)
    if (settings["run"] is None) == (settings["samples"] is None):
        raise UserError("give one of run=DIR (a run of ours) and samples=FILE_OR_DIR")
    path = Path(settings["run"] or settings["samples"])
    if settings["run"] is not None:
        recorded = read_json(load_run(path).record)["evaluation"]
        if settings["extractor"] in (None, recorded["extractor"]):
            settings |= {key: recorded[key] for key in FROM_RUN if settings[key] is None and key in recorded}
    settings["extractor"] = settings["extractor"] or "inception"
    defaults = settings["defaults_of"].get(settings["extractor"], settings["defaults_of"]["inception"])
    settings |= {key: value for key, value in defaults.items() if settings[key] is None}
    out = Path(settings["out"]) if settings["out"] is not None else _default_out(path)
    files = [resolve_path(settings[key]) for key in ("extractor_weights", "reference")]
    check_output(out, "the result of an evaluation", [path, *files])
    with joined_ranks() as ranks:
        device = choose_device(settings["device"], ranks.local_rank, ranks.local_world_size)
        source = open_source(path)
        evaluation = load_evaluation(settings, device, ranks)
        result = evaluation.result(source, ranks, Counter("images", quiet=not ranks.is_main))
        if result is None:
            return
    for name, value in result["metrics"].items():
        interval = result["spread"].get(name, {}).get("interval95")
        print(f"{name}: {value:.4f}" + (f"  (95%: {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""))
    write_json(out, result)
    print(out)


def _default_out(path: Path) -> Path:
    return path / "result.json" if path.is_dir() else path.with_suffix(".result.json")


if __name__ == "__main__":
    run_command("evaluate", main)
