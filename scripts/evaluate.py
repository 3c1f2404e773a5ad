"""Score images against a reference or their prompts; also under torchrun.

python -m scripts.evaluate run=DIR
python -m scripts.evaluate samples=FILE.npz reference=FILE.npz 'metrics=[fid,sfid,inception_score,precision,recall]'
python -m scripts.evaluate run=DIR_OF_PROMPTS 'metrics=[clip_score]' [against=DIR]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.results import EvaluateSettings


def main(settings: EvaluateSettings) -> None:
    from experiments.scores import score_images
    from tstitch.runs.json_files import write_json

    path = Path(settings.run or settings.samples or "")
    out = Path(settings.out) if settings.out is not None else _default_out(path)
    result = score_images(settings.as_dict(), out)
    if result is None:
        return
    write_json(out, result)
    for name, value in result["metrics"].items():
        interval = result["spread"].get(name, {}).get("interval95")
        print(f"{name}: {value:.4f}" + (f"  (95%: {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""))
    if "against" in result:
        print(result["against"]["verdict"])
    print(out)


def _default_out(path: Path) -> Path:
    return path / "result.json" if path.is_dir() else path.with_suffix(".result.json")


if __name__ == "__main__":
    run_command("evaluate", main)
