"""The rounds of a choice: distance to the large model's own images, then FID on shared noise until one is apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from evaluation.metrics.influence import fid_spread
from evaluation.metrics.sources import open_source
from evaluation.metrics.spread import Spread
from experiments.axes import PlannedPoint
from experiments.choose.candidates import Candidate
from experiments.choose.costs import Execution, execution_of
from experiments.places import sampler_named
from experiments.points import Networks, SweepPoint, open_scoring, point_run, run_points
from sampling.plan import make_plan
from settings.choose import ChooseSettings
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run
from tstitch.runs.shards import IMAGES

LEAST_KEPT = 3  # candidates of a guidance scale that go on to FID, and a third of them where that is more


@dataclass(frozen=True)
class Scored:
    """A candidate after some rounds of FID: its FID, and how much worse than the best one it is."""

    candidate: Candidate
    fid: Spread
    behind: Spread


@dataclass
class Sampler:
    """Runs of plans under one directory, with the networks of each execution loaded once; counts what was made."""

    settings: ChooseSettings
    directory: Path
    device: torch.device
    ranks: Ranks
    images: int = 0
    networks: dict[Execution, Networks] = field(default_factory=dict)

    def of(self, execution: Execution) -> Networks:
        """All denoisers so executed, and what scores their images."""
        if execution not in self.networks:
            each = [alone(self.settings, model) for model in range(len(self.settings.pair.denoisers))]
            plans = [make_plan(self.settings.changed(**asdict(execution), stitch=shares)) for shares in each]
            self.networks[execution] = Networks(plans, self.ranks, self.device)
        return self.networks[execution]

    def run(self, settings: Sequence[ChooseSettings]) -> list[Run]:
        """Sample settings, and score them by their own metrics; what is there is not made again.

        Raises:
            UserError: one failed.
        """
        points = [point_run(PlannedPoint(own, make_plan(own), ({},)), self.directory, self.device) for own in settings]
        for execution in dict.fromkeys(execution_of(point.plan) for point in points):
            self._run_alike(execution, [point for point in points if execution_of(point.plan) == execution])
        return [point.run for point in points]

    def _run_alike(self, execution: Execution, points: list[SweepPoint]) -> None:
        networks = self.of(execution)
        open_scoring(points, networks, in_ranks=False)
        self.images += sum(point.plan.num_images for point in points if not point.run.samples.is_file())
        for number, reason in run_points(points, networks, None, self.directory):
            if reason is not None:
                raise UserError(f"{points[number].plan.describe()} failed: {reason}")


def nearest(candidates: Sequence[Candidate], sampler: Sampler) -> list[Candidate]:
    """Keep the candidates of each guidance scale whose images are nearest to the large model's own, by noise.

    The distance is the root mean square over bytes; the large model's own images are the baseline's at that scale.
    """
    kept = []
    for scale in dict.fromkeys(each.plan.scales[-1] for each in candidates):
        alike = [each for each in candidates if each.plan.scales[-1] == scale]
        own = baseline_settings(sampler.settings, scale)
        runs = sampler.run([_few(each.settings, sampler.settings) for each in alike] + [_few(own, sampler.settings)])
        *images, wanted = [_images(run) for run in runs]
        distances = [float(np.sqrt(np.square(each - wanted).mean())) for each in images]
        order = np.argsort(distances, kind="stable")
        kept += [alike[k] for k in order[: max(LEAST_KEPT, len(alike) // 3)]]
    return kept


def race(candidates: Sequence[Candidate], sampler: Sampler) -> list[Scored]:
    """Add images round by round and drop who is worse than the best beyond chance; the best comes first.

    Each round has a seed of its own; FID is over the images of all rounds so far, of the same noise for all.
    """
    left, features = list(candidates), {each.title: [] for each in candidates}
    scored: list[Scored] = []
    for number, num_images in enumerate(sampler.settings.rounds, start=1):
        seed = sampler.settings.seed + number
        runs = sampler.run([each.settings.changed(num_images=num_images, seed=seed) for each in left])
        evaluation = sampler.of(left[0].execution).evaluation
        for each, run in zip(left, runs, strict=True):
            features[each.title].append(evaluation.features(open_source(run.directory), sampler.ranks).pool)
        fids = fid_spread((np.concatenate(features[each.title]) for each in left), evaluation.reference.pool)
        best = int(np.argmin(fids.values))
        scored = [Scored(each, fids.spread(k), fids.difference(best, k)) for k, each in enumerate(left)]
        scored.sort(key=lambda own: own.fid.value)
        print(f"round {number}: {len(left)} settings, FID {scored[0].fid.value:.2f} to {scored[-1].fid.value:.2f}")
        scored = [own for own in scored if own.behind.interval[0] <= 0]
        left = [own.candidate for own in scored]
        if len(left) == 1:
            break
    return scored


def baseline_settings(settings: ChooseSettings, scale: float | list[float]) -> ChooseSettings:
    """The large denoiser alone with the baseline's solver and steps, in float32."""
    return settings.changed(
        stitch=alone(settings),
        sampler=sampler_named(settings.against.sampler, settings.sampler, settings.pair.grid).changed(
            num_steps=settings.against.num_steps
        ),
        guidance={"scale": scale},
        precision="float32",
        compile="none",
    )


def alone(settings: ChooseSettings, denoiser: int = -1) -> dict:
    """The words of `stitch` that give one denoiser, else the large one, all steps."""
    num = len(settings.pair.denoisers)
    return {"fractions": [float(k == denoiser % num) for k in range(num)], "denoiser_per_step": None}


def _few(own: ChooseSettings, settings: ChooseSettings) -> ChooseSettings:
    """Settings for a few images without scores."""
    few = own.changed(num_images=settings.distance_images, seed=settings.seed)
    return few.changed(pair=few.pair.changed(evaluation={"metrics": []}))


def _images(run: Run) -> np.ndarray:
    with np.load(run.samples) as file:
        return file[IMAGES].astype(np.float32)
