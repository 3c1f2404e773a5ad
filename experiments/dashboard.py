"""The dashboard on Weights & Biases: a run for each point, one for the sweep; imported only where it is on.

The JSON on disk stays the source of truth. `wandb.json` in the sweep's directory has a checksum of what each dashboard
run was sent. Online, `resume="allow"` would make sending it again harmless, but offline each `wandb.init` begins
another directory, and `wandb sync` would send the history of all of them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.report.results import BOUNDS, SMALL_FRACTION, TIME, results_table
from experiments.points import SweepPoint
from experiments.scored import PAIRED, RESULT
from settings.sweep import Dashboard as DashboardSettings
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json, write_json
from tstitch.runs.run import Run, identity_hash, load_run

if TYPE_CHECKING:
    from wandb import Run as DashboardRun

    from evaluation.report.sweep import Sweep

SENT = "wandb.json"
LATENCY = "latency"
FRACTION, BY_FRACTION = "small fraction", "images by fraction"
PLOTTED = 2  # metrics that have plots of their own; the table has all


class Dashboard:
    """A sender of a sweep's results. A point's dashboard run has the id of the point's run, so it is continued."""

    def __init__(self, settings: DashboardSettings, out: Path, latency_of: Callable[[SweepPoint], dict | None]):
        self.mode, self.project, self.out = settings.mode, settings.project, out
        self.latency_of = latency_of
        self.group = f"{out.name}-{identity_hash({'out': str(out.absolute())})[:6]}"
        if self.mode == "online":
            _check_key()

    def log_result(self, point: SweepPoint) -> None:
        """Send settings, metrics and images of a point that is sampled and scored; again when its latency is there.

        What cannot be sent is a warning: the sweep goes on, and the same command sends it later.
        """
        self._send(partial(self._log_result, point))

    def log_sweep(self, sweep: Sweep, points: Sequence[SweepPoint]) -> None:
        """Send the latencies of the points, then the table of results and the trade-off as plots."""
        for point in points:
            self.log_result(point)
        self._send(partial(self._log_sweep, sweep))

    def _send(self, send: Callable[[], None]) -> None:
        if self.mode == "disabled":
            return
        import wandb

        try:
            send()
        except wandb.Error as error:
            warnings.warn(f"the dashboard could not be sent: {error}", stacklevel=3)

    def _log_result(self, point: SweepPoint) -> None:
        directory, run_id = point.run.directory, f"point-{point.run.id}-{self.group}"
        results = {name: read_json(directory / name) for name in (RESULT, PAIRED) if (directory / name).is_file()}
        latency = self.latency_of(point)
        if latency is not None:
            results[LATENCY] = latency
        if self._was_sent(run_id, results):
            return
        place = point.planned.place
        config = {
            **place,
            "small_fraction": next(iter(place["fractions"]), None),
            **read_json(point.run.record)["identity"],
        }
        with self._run(directory.name, run_id, config) as run:
            run.summary.update(_numbers(results))
            run.log({"strip": self._strip(point.run)}, step=0)
        self._mark(run_id, results)

    def _log_sweep(self, sweep: Sweep) -> None:
        content, run_id = read_json(self.out / "sweep.json"), f"sweep-{self.group}"
        if self._was_sent(run_id, content):
            return
        import wandb

        results = results_table(sweep)
        with self._run(f"{self.out.name} (sweep)", run_id, sweep.protocol) as run:
            table = wandb.Table(columns=results.columns, data=results.rows)
            plots: dict[str, object] = {"points": table}
            for key in [key for _, key in sweep.metrics][:PLOTTED]:
                by_fraction = wandb.plot.line(table, SMALL_FRACTION, key, title=f"{key} by fraction")
                by_time = wandb.plot.scatter(table, TIME, key, title=f"{key} by time")
                plots |= {f"{key} against fraction": by_fraction, f"{key} against time": by_time}
            run.define_metric("*", step_metric=FRACTION)
            run.log(plots)
            # A step for each point of the first curve: the panel of images has a slider over them, metrics are curves.
            for point in sweep.curves()[0][2]:
                measured = {**point.metrics, "ms for an image": 1000 * point.seconds_per_image}
                strip = self._strip(load_run(self.out / point.run))
                run.log({FRACTION: point.small_fraction, BY_FRACTION: strip, **measured})
        self._mark(run_id, content)

    def _run(self, name: str, run_id: str, config: dict) -> DashboardRun:
        import wandb

        return wandb.init(
            project=self.project, group=self.group, name=name, id=run_id, resume="allow", config=config, mode=self.mode,
            dir=self.out, settings=wandb.Settings(silent=True, x_disable_stats=True, console="off"),
        )  # fmt: skip

    @staticmethod
    def _strip(run: Run):
        import wandb

        from evaluation.report.images_of_run import first_of_each_class, read_images

        rows = first_of_each_class(run, num_rows=10)
        images = np.concatenate(read_images(run, list(rows.values())), axis=1)
        return wandb.Image(images, caption=f"classes {', '.join(map(str, rows))}")

    def _was_sent(self, run_id: str, content: dict) -> bool:
        return self._sent().get(run_id) == _digest(content)

    def _mark(self, run_id: str, content: dict) -> None:
        write_json(self.out / SENT, {**self._sent(), run_id: _digest(content)})

    def _sent(self) -> dict[str, str]:
        """Read the checksum of what each dashboard run was sent."""
        return read_json(self.out / SENT) if (self.out / SENT).is_file() else {}


def _check_key() -> None:
    import wandb

    if not wandb.login(prompt=False):
        raise UserError(
            "wandb.mode=online needs a key: run wandb login, or take wandb.mode=offline and make wandb-sync"
        )


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _numbers(results: dict[str, dict]) -> dict[str, float]:
    """Collect metrics, intervals and times under the names that the dashboard shows."""
    result, latency = results.get(RESULT, {"metrics": {}, "spread": {}}), results.get(LATENCY, {})
    numbers = dict(result["metrics"])
    for name, spread in result["spread"].items():
        numbers |= {f"{name}{bound}": value for bound, value in zip(BOUNDS, spread["interval95"], strict=True)}
    numbers |= {key: value for key, value in latency.items() if key.startswith("seconds_per_image")}
    if PAIRED in results:
        numbers["fid_difference_from_large"] = results[PAIRED]["value"]
    return numbers
