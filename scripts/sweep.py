"""Sweep fractions, guidance scales, samplers, steps, orders and rules of a pair: every point has the same noise.

python -m scripts.sweep pair=digits_dit_s_xl fractions=0:1:0.1 num_images=1000 out=DIR
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.command import run_command, stop_if_failed

if TYPE_CHECKING:
    from settings.sweep import SweepSettings
    from settings.sweep_prompts import PromptSweepSettings


def main(settings: SweepSettings | PromptSweepSettings) -> None:
    from hydra.core.hydra_config import HydraConfig

    from experiments.axes import plan_points

    planned = plan_points(settings)

    # A mistake in the settings should not wait for these.
    from evaluation.report.figures import save
    from evaluation.report.plots import draw_curves, draw_strip
    from experiments.sweep import describe_point, planned_places, sweep_points
    from experiments.tuning import tune_guidance
    from sampling.cost import describe_costs
    from tstitch.runs.ranks import choose_device

    device = choose_device(settings.device, local_rank=0, local_world_size=settings.ranks or 1)
    if settings.dry_run:
        plans, places = [point.plan for point in planned], planned_places(planned, settings, device)
        print("\n".join(describe_costs(plans, places, device, getattr(settings, "tflops", None))))
        return
    if getattr(settings, "tune", None) is not None:
        planned = tune_guidance(settings, device)
    swept = sweep_points(planned, settings, list(HydraConfig.get().overrides.task), device)
    if swept.sweep is not None:
        out, points = swept.directory, swept.sweep.points
        save(draw_curves(swept.sweep), out / "curve.png", out / "curve.svg")
        runs = {point.run: run for point, run in zip(points, swept.runs, strict=True)}
        shown = swept.sweep.select(points[0].guidance_scale, points[0].series)
        save(draw_strip([(point, runs[point.run]) for point in shown]), out / "strip.png")
        for point in points:
            print(describe_point(point))
        print(out / "sweep.json")
    stop_if_failed(swept.failed, len(planned))


if __name__ == "__main__":
    run_command("sweep", main)
