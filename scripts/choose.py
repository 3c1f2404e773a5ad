"""Choose solver, steps, guidance and who takes which step for a budget of time.

python -m scripts.choose pair=fashion_dit_s_xl ms=8 out=DIR
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.choose import ChooseSettings


def main(settings: ChooseSettings) -> None:
    from hydra.core.hydra_config import HydraConfig

    from models.checkout import ROOT
    from sampling.plan import make_plan
    from tstitch.errors import UserError
    from tstitch.runs.outputs import check_output

    make_plan(settings)  # weights and shapes, before anything is measured
    out = Path(settings.out) if settings.out is not None else ROOT / "runs" / f"choice-{settings.pair.name}"
    check_output(out / "choice.json", "a choice")
    if settings.dry_run:
        raise UserError("scripts.choose has no dry_run; its rounds depend on what it measures")

    # A mistake in the settings should not wait for these.
    from experiments.choose.calibration import calibrate
    from experiments.choose.choose import choose, chosen_overrides, describe_choice, write_choice
    from tstitch.runs.ranks import choose_device

    device = choose_device(settings.device, local_rank=0)
    calibration = settings.calibration or calibrate(settings, out, device)
    choice = choose(settings, calibration, out, device)
    overrides = chosen_overrides(choice, settings, list(HydraConfig.get().overrides.task))
    path = write_choice(choice, settings, overrides, out)
    print("\n".join([*describe_choice(choice, settings, overrides), str(path)]))


if __name__ == "__main__":
    run_command("choose", main)
