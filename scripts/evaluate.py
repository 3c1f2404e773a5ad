"""Score a finished run: `python -m scripts.evaluate run=DIR` writes `DIR/result.json`."""

from pathlib import Path

from omegaconf import DictConfig

from scripts.cli import resolved, run_command


def main(config: DictConfig) -> None:
    from evaluation.evaluate import evaluate_run
    from scripts.evaluation import load_evaluation
    from tstitch.ranks import choose_device
    from tstitch.run import load_run, read_json, write_json

    settings = resolved(config)
    run = load_run(Path(settings["run"]))
    recorded = read_json(run.directory / "run.json")["evaluation"]
    given = {key: settings[key] for key in recorded if settings[key] is not None}
    device = choose_device(settings["device"], local_rank=0)
    result = evaluate_run(run, *load_evaluation({**recorded, **given}, device))
    write_json(run.directory / "result.json", result)
    for name, value in result["metrics"].items():
        print(f"{name}: {value:.4f}")
    print(run.directory / "result.json")


if __name__ == "__main__":
    run_command("evaluate", main)
