"""A picture of ways to mix two models: FID against time, for each sweep."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from evaluation.report.figures import INK, PALETTE, figure
from evaluation.report.mixtures import FIRST, Mixed
from evaluation.report.pareto import pareto_front
from evaluation.report.plots import use_plain_logs

COLUMNS = 3


def draw_mixtures(mixed: Sequence[Mixed]) -> Figure:
    """Draw FID against time for each sweep, a colour for each family of methods, and the front of all."""
    columns = min(COLUMNS, len(mixed))
    rows = -(-len(mixed) // columns)
    width = max(7.4, 5 * columns)
    families = list(dict.fromkeys(_family(name) for own in mixed for name in own.methods))
    with figure(width, 3.9 * rows + 0.8) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).flatten()
        for axes, own in zip(grid, mixed, strict=False):
            ms = [1000 * point.seconds_per_image for point in own.points]
            for name in own.methods:
                shown = own.of(name)
                number = families.index(_family(name))
                look = "o-" if name == FIRST else "o^"[number // len(PALETTE)]
                axes.plot(
                    [ms[k] for k in shown], own.fids.values[shown], look, markersize=3.5, linewidth=1,
                    color=PALETTE[number % len(PALETTE)], label=families[number],
                )  # fmt: skip
            front = pareto_front(ms, own.fids.values)
            intervals = [own.fids.spread(k).interval for k in front]
            axes.vlines([ms[k] for k in front], *zip(*intervals, strict=True), alpha=0.3, linewidth=1, color=INK)
            axes.plot([ms[k] for k in front], own.fids.values[front], ":", color=INK, label="front of all")
            axes.set(title=own.name, xlabel="time per image (ms)", ylabel="FID")
            use_plain_logs(axes)
            axes.grid(alpha=0.25)
        for axes in grid[len(mixed) :]:
            axes.set_visible(False)
        known = {text: line for axes in grid for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        drawn.legend(known.values(), known.keys(), loc="outside lower center", ncols=int(width / 2.4))
    return drawn


def _family(method: str) -> str:
    """The family of a method: a router without its settings; orders other than the first are one."""
    if method == FIRST or method.endswith("other steps"):
        return method
    is_order = any(word in method for word in ("large to small", "interleave", "random", "ends"))
    return "other orders" if is_order else method.split()[0].replace("_", " ")
