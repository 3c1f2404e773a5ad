"""Analyse a pair along its trajectories: similarity, spectrum, error, disagreement, oracle.

python -m scripts.analyse analysis=similarity pair=fashion_dit_s_b_xl
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.command import run_command
from models.checkout import ROOT

if TYPE_CHECKING:
    from settings.measures import AnalyseSettings


def main(settings: AnalyseSettings) -> None:
    from sampling.plan import make_plan

    plan = make_plan(settings)
    if settings.dry_run:
        print(plan.describe(), f"{settings.analysis} of {plan.num_images} images", sep="\n")
        return

    from evaluation.report.analysis_plots import draw_analysis
    from evaluation.report.figures import save
    from experiments.analyses import ANALYSES, analyse
    from tstitch.runs.json_files import write_json
    from tstitch.runs.outputs import check_directory, check_output
    from tstitch.runs.ranks import choose_device, joined_ranks
    from tstitch.runs.record import identity_hash

    kind = settings.analysis
    device = choose_device(settings.device, local_rank=0)
    identity = {**plan.identity(device.type), "analysis": kind, "fractions": settings.fractions}
    default = ROOT / "runs" / f"{kind}-{plan.pair}-{identity_hash(identity)}"
    out = Path(settings.out) if settings.out is not None else default
    pictures = [out / f"{kind}.png", out / f"{kind}.svg"]
    check_directory(out, "analysis", [f"{each}.json" for each in ANALYSES])
    check_output(out / f"{kind}.json", "an analysis", beside=pictures)
    out.mkdir(parents=True, exist_ok=True)
    with joined_ranks():
        analysis = analyse(kind, plan, settings, device)
    stored = {"identity": identity, "pair": plan.pair, "found": analysis.sentences, "data": analysis.data}
    write_json(out / f"{kind}.json", stored)
    save(draw_analysis(kind, analysis.data), *pictures)
    print("\n".join(analysis.sentences))
    print(out / f"{kind}.json")


if __name__ == "__main__":
    run_command("analyse", main)
