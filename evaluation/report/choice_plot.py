"""The speed of a choice: milliseconds of the baseline, of the choice, and of the choice without each of its parts."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from evaluation.report.figures import MUTED, PALETTE, figure


def draw_choice(seconds: Mapping[str, float]) -> Figure:
    """Draw a bar for each, with how many times as fast as the first it is.

    Args:
        seconds: of an image, by name: the baseline first, the choice last.
    """
    names, values = list(seconds), [1000 * value for value in seconds.values()]
    with figure(7, 0.5 * len(names) + 0.9) as drawn:
        axes = drawn.subplots()
        colours = [MUTED] * (len(names) - 1) + [PALETTE[0]]
        axes.barh(names, values, color=colours)
        for row, value in enumerate(values):
            axes.text(value, row, f"  {value:.1f} ms, {values[0] / value:.1f}x", va="center", fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.25 * max(values))
        axes.set_xlabel("ms for an image")
    return drawn
