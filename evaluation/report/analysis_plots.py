"""Analyses that `scripts.analyse` stored, drawn from their data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.metrics.trajectories import Curve
from evaluation.records import check_record, read_record
from evaluation.report.analysis_file import DATA, AnalysisRecord
from evaluation.report.figures import PALETTE, figure
from tstitch.errors import UserError

MAKE_AGAIN = "scripts.analyse writes it anew"
SEEN = (0.43, 1.0)  # of the colours of a ramp, those that stand out from a white page and from a dark one


@dataclass(frozen=True)
class StoredAnalysis:
    """An analysis as it was stored: its kind, the pair and the number of its images, its sentences and its data."""

    kind: str
    pair: str
    num_images: int
    sentences: list[str]
    data: dict

    def draw(self) -> Figure:
        """Draw the data."""
        return draw_analysis(self.kind, self.data)


def read_analyses(places: Sequence[Path]) -> list[StoredAnalysis]:
    """Read analyses, each given by its JSON file or by the directory that holds it.

    Raises:
        UserError: there is none, or a field is missing or of another type.
    """
    paths = []
    for place in places:
        held = [place / f"{kind}.json" for kind in DRAWN] if place.is_dir() else [place]
        held = [path for path in held if path.is_file()]
        if not held:
            names = ", ".join(f"{kind}.json" for kind in DRAWN)
            raise UserError(f"{place} holds no analysis ({names}); run scripts.analyse first")
        paths += held
    return [_read(path) for path in paths]


def draw_analysis(kind: str, data: Mapping) -> Figure:
    """Draw the data of an analysis of a kind of `DRAWN`."""
    return DRAWN[kind](data)


def _read(path: Path) -> StoredAnalysis:
    content, record = read_record(path, AnalysisRecord, MAKE_AGAIN)
    kind = record.identity.analysis
    check_record(path, content["data"], DATA[kind], "data")
    return StoredAnalysis(kind, record.pair, record.identity.num_images, record.found, content["data"])


def _draw_similarity(data: Mapping) -> Figure:
    """Draw a panel for each title: curves over the timestep, with a band of one standard deviation."""
    panels, timesteps = data["panels"], data["timesteps"]
    with figure(5.2 * len(panels), 3.7) as drawn:
        all_axes = drawn.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
            _draw_curves(axes, timesteps, curves)
            axes.invert_xaxis()
            axes.set_xlabel("timestep, from noise to image")
            axes.set_ylabel("cosine similarity")
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.25)
            axes.legend(loc="lower left")
    return drawn


def _draw_spectrum(data: Mapping) -> Figure:
    """Draw a line for each step: log amplitude over the frequency."""
    spectra, timesteps = np.array(data["log_amplitude"]), data["timesteps"]
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        frequencies = np.linspace(0, 1, spectra.shape[1])
        for k, timestep in enumerate(timesteps):
            colour = colormaps["cool"](SEEN[0] + (SEEN[1] - SEEN[0]) * k / max(1, len(timesteps) - 1))
            axes.plot(frequencies, spectra[k], color=colour, marker="o", markersize=3, label=f"t = {timestep}")
        axes.set_xlabel("frequency (1 is the highest)")
        axes.set_ylabel("log amplitude")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, ncols=2)
    return drawn


def _draw_error(data: Mapping) -> Figure:
    """Draw the relative error over the fraction of the small model."""
    curve, fractions = _curve(data["curve"]), [values[0] for values in data["fractions"]]
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        mean, std = np.array(curve.mean), np.array(curve.std)
        axes.plot(fractions, mean, marker="o", markersize=4, color=PALETTE[0])
        axes.fill_between(fractions, mean - std, mean + std, color=PALETTE[0], alpha=0.18, linewidth=0)
        axes.set_xlabel("fraction of steps of the small model")
        axes.set_ylabel("distance from the large model's latents")
        axes.grid(alpha=0.25)
    return drawn


def _draw_disagreement(data: Mapping) -> Figure:
    """Draw a line for each smaller model over the timestep, with a band of one standard deviation."""
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        _draw_curves(axes, data["timesteps"], data["curves"])
        axes.invert_xaxis()
        axes.set_xlabel("timestep, from noise to image")
        axes.set_ylabel("distance of predictions from the large model's")
        axes.grid(alpha=0.25)
        axes.legend()
    return drawn


def _draw_oracle(data: Mapping) -> Figure:
    """Draw the mean error over the fraction of the small model: one for all images, and one for each."""
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        axes.plot(data["fractions"], data["error"], "o-", markersize=4, color=PALETTE[0], label="one fraction for all")
        axes.plot(data["oracle_fractions"], data["oracle_error"], color=PALETTE[1], label="an oracle for each image")
        axes.set_xlabel("mean fraction of steps of the small model")
        axes.set_ylabel("mean distance from the large model's latents")
        axes.grid(alpha=0.25)
        axes.legend()
    return drawn


def _draw_schedules(data: Mapping) -> Figure:
    """Draw a line for each rule over the fraction of the small model."""
    with figure(5.2, 3.7) as drawn:
        axes = drawn.subplots()
        for colour, (name, errors) in zip(PALETTE, data["errors"].items(), strict=False):
            axes.plot(data["fractions"], errors, "o-", markersize=3, color=colour, label=name)
        axes.set_xlabel("fraction of steps of the small model")
        axes.set_ylabel("distance from the large model's latents")
        axes.grid(alpha=0.25)
        axes.legend()
    return drawn


def _draw_curves(axes: Axes, timesteps: Sequence[float], curves: Sequence[Mapping]) -> None:
    for colour, curve in zip(PALETTE, map(_curve, curves), strict=False):
        mean, std = np.array(curve.mean), np.array(curve.std)
        axes.plot(timesteps, mean, color=colour, label=curve.label)
        axes.fill_between(timesteps, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)


def _curve(values: Mapping) -> Curve:
    return Curve(values["label"], values["mean"], values["std"])


DRAWN: dict[str, Callable[[Mapping], Figure]] = {
    "similarity": _draw_similarity,
    "spectrum": _draw_spectrum,
    "error": _draw_error,
    "disagreement": _draw_disagreement,
    "oracle": _draw_oracle,
    "schedules": _draw_schedules,
}
