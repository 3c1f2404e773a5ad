"""Write a Markdown page on finished sweeps: `python -m scripts.summary 'sweeps=[DIR]' out=summary.md`."""

from pathlib import Path

from omegaconf import DictConfig

from scripts.cli import resolved, run_command


def main(config: DictConfig) -> None:
    from evaluation.summary import summarise
    from evaluation.sweep import read_sweep
    from tstitch.errors import UserError
    from tstitch.shards import write_atomically

    settings = resolved(config)
    if not isinstance(settings["sweeps"], list) or not settings["sweeps"]:
        raise UserError(f"sweeps must be a list of directories, got {settings['sweeps']!r}")
    directories = [Path(directory) for directory in settings["sweeps"]]
    page = Path(settings["out"])
    text = summarise([(directory, read_sweep(directory)) for directory in directories], page)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, text.encode())
    print(text)
    print(page)


if __name__ == "__main__":
    run_command("summary", main)
