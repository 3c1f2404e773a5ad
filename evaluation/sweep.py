"""A sweep's points: the files that plots and tables read."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tstitch.allocation import show_fractions
from tstitch.errors import UserError
from tstitch.run import read_json, write_json
from tstitch.shards import write_atomically


@dataclass(frozen=True)
class Series:
    """What the points of one curve share; along it the fractions vary."""

    sampler: str
    num_steps: int
    order: str
    rule: str


@dataclass(frozen=True)
class Point:
    """One stitched setting: what was run, what it scored, how long an image takes.

    `spread` has the 95% intervals of FID and Inception Score; `paired` that of the difference in FID from the large
    model alone with the same noise, and a verdict in words. `run` is the place of its images, relative to the sweep's
    directory.
    """

    fractions: list[float]
    guidance_scale: float | list[float]
    sampler: str
    num_steps: int
    order: str
    rule: str
    allocation: list[int]
    metrics: dict[str, float]
    latency: dict
    spread: dict[str, dict] = field(default_factory=dict)
    paired: dict | None = None
    run: str = ""

    @property
    def series(self) -> Series:
        return Series(self.sampler, self.num_steps, self.order, self.rule)

    @property
    def small_fraction(self) -> float:
        return self.fractions[0]

    @property
    def is_large_alone(self) -> bool:
        return self.fractions[-1] == 1

    @property
    def fid(self) -> float:
        return next(value for name, value in self.metrics.items() if name.startswith("fid"))

    def metric(self, name: str) -> float | None:
        """A metric by its plain name, `fid` for `fid5k`; None where it was not asked for."""
        return next((value for key, value in self.metrics.items() if is_metric(key, name, with_std=False)), None)

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95% interval of a metric by its plain name, where it was measured."""
        found = next((value for key, value in self.spread.items() if is_metric(key, name)), None)
        return None if found is None else tuple(found["interval95"])

    @property
    def inception_score(self) -> float:
        return self.metrics["inception_score"]

    @property
    def seconds_per_image(self) -> float:
        return self.latency["seconds_per_image"]

    @property
    def stages_s_per_image(self) -> dict[str, float]:
        """Seconds of an image by stage: each denoiser by name, `autoencoder`, `rest`."""
        return self.latency.get("stages_s_per_image", {})


@dataclass(frozen=True)
class Sweep:
    """All points of a sweep and the protocol that they share."""

    points: list[Point]
    protocol: dict

    @property
    def fid_name(self) -> str:
        return next(name for name in self.points[0].metrics if name.startswith("fid"))

    @property
    def guidance_scales(self) -> list[float | list[float]]:
        scales = []
        for point in self.points:
            if point.guidance_scale not in scales:
                scales.append(point.guidance_scale)
        return scales

    @property
    def series(self) -> list[Series]:
        return list(dict.fromkeys(point.series for point in self.points))

    def select(self, scale: float | list[float], series: Series) -> list[Point]:
        """The points of one guidance scale and series, by fraction of the smallest model."""
        chosen = [p for p in self.points if p.guidance_scale == scale and p.series == series]
        return sorted(chosen, key=lambda p: p.small_fraction)

    def curves(self) -> list[tuple[float | list[float], Series, list[Point]]]:
        """Guidance scale, series and points of every curve that has points."""
        return [
            (scale, series, points)
            for scale in self.guidance_scales
            for series in self.series
            if (points := self.select(scale, series))
        ]


def is_metric(key: str, name: str, with_std: bool = True) -> bool:
    """Whether a result's key such as `fid5k`, `fd_dinov2_5k` or `kid5k_std` is of the metric `name`."""
    return re.fullmatch(rf"{name}(_?\d+k?)?{'(_std)?' if with_std else ''}", key) is not None


def join_sweeps(sweeps: Sequence[tuple[Sweep, Path]]) -> list[tuple[Sweep, list[Path]]]:
    """Sweeps of one protocol (which includes the pair) become one, with all the places they came from."""
    groups: dict[str, list[tuple[Sweep, Path]]] = {}
    for sweep, source in sweeps:
        groups.setdefault(json.dumps(sweep.protocol, sort_keys=True), []).append((sweep, source))
    return [
        (Sweep([p for sweep, _ in group for p in sweep.points], group[0][0].protocol), [source for _, source in group])
        for group in groups.values()
    ]


def write_sweep(sweep: Sweep, directory: Path) -> None:
    """Write `sweep.json` and `sweep.csv`."""
    points = [asdict(point) for point in sweep.points]
    write_json(directory / "sweep.json", {"points": points, "protocol": sweep.protocol})
    table = io.StringIO()
    metrics = list(sweep.points[0].metrics)
    writer = csv.writer(table, lineterminator="\n")
    settings = ["guidance_scale", "sampler", "num_steps", "order", "rule"]
    writer.writerow(["fractions", *settings, *metrics, "seconds_per_image"])
    for point in sweep.points:
        fractions = show_fractions(point.fractions)
        values = [getattr(point, name) for name in settings]
        scores = [f"{point.metrics[name]:.4f}" for name in metrics]
        writer.writerow([fractions, *values, *scores, f"{point.seconds_per_image:.6f}"])
    write_atomically(directory / "sweep.csv", table.getvalue().encode())


def read_sweep(directory: Path) -> Sweep:
    """Read `sweep.json`; `UserError` where there is none."""
    path = directory / "sweep.json"
    if not path.is_file():
        raise UserError(f"{directory} holds no sweep (no sweep.json); run scripts.sweep first")
    content = read_json(path)
    return Sweep([Point(**point) for point in content["points"]], content["protocol"])
