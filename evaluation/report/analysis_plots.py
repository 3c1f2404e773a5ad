"""Pictures of the analyses."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from evaluation.metrics.trajectories import Curve
from evaluation.report.figures import PALETTE, figure


def draw_over_steps(panels: dict[str, Sequence[Curve]], timesteps: Sequence[int]) -> Figure:
    """A panel for each title: curves over the timestep, from noise to image, with a band of one standard deviation."""
    with figure(5.2 * len(panels), 3.7) as drawn:
        for axes, (title, curves) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for colour, curve in zip(PALETTE, curves, strict=False):
                mean, std = np.array(curve.mean), np.array(curve.std)
                axes.plot(timesteps, mean, color=colour, label=curve.label)
                axes.fill_between(timesteps, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)
            axes.invert_xaxis()
            axes.set_xlabel("timestep, from noise to image")
            axes.set_ylabel("cosine similarity")
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.25)
            axes.legend(loc="lower left")
    return drawn


def draw_spectrum(spectra: Tensor, timesteps: Sequence[int]) -> Figure:
    """A line for each step: log amplitude over the frequency."""
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        frequencies = np.linspace(0, 1, spectra.shape[1])
        for k, timestep in enumerate(timesteps):
            colour = colormaps["viridis"](0.9 * k / max(1, len(timesteps) - 1))
            axes.plot(frequencies, spectra[k], color=colour, marker="o", markersize=3, label=f"t = {timestep}")
        axes.set_xlabel("frequency (1 is the highest)")
        axes.set_ylabel("log amplitude")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, ncols=2)
    return drawn


def draw_error(curve: Curve, fractions: Sequence[float]) -> Figure:
    """Relative error over the fraction of the small model."""
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        mean, std = np.array(curve.mean), np.array(curve.std)
        axes.plot(fractions, mean, marker="o", markersize=4, color=PALETTE[0])
        axes.fill_between(fractions, mean - std, mean + std, color=PALETTE[0], alpha=0.18, linewidth=0)
        axes.set_xlabel("fraction of steps of the small model")
        axes.set_ylabel("distance from the large model's latents")
        axes.grid(alpha=0.25)
    return drawn
