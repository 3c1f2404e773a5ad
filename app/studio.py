"""Pictures for the window: what its fields ask for, composed, planned and sampled as the command does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from app.wish import Wish, command_line
from cli.composition import checked_settings
from cli.explain import explain_composition
from experiments.mix import COUNTS
from models.checkout import CONFIG_DIR
from sampling.job import RunPlan
from sampling.jobs import Jobs, make_jobs, plan_run
from settings.prompts import PromptSettings
from settings.sampling import SamplingSettings
from tstitch.errors import UserError, is_out_of_memory
from tstitch.runs.ranks import choose_device
from tstitch.runs.shards import Block
from tstitch.runs.timing import StageClock

LARGE, STITCHED, SMALL = "Large alone", "Stitched", "Small alone"
WARM_UP_STEPS = 3
Watch = Callable[[str, int, int], None]  # gets a column's title, the steps that are done, and of how many


class CancelledError(Exception):
    """The user has asked to stop."""


@dataclass(frozen=True)
class Picture:
    """The images of one column.

    Attributes:
        images: (N, H, W, 3) uint8.
        seconds: of all of them together, on the clock.
        names: of the denoisers, small to large.
        allocation: the denoiser of each step; None where it is not known before.
        evaluations: (N, denoisers), of the networks for each image; None where the allocation says it.
        description: who took which step, in a line.
        command: that makes the same images.
    """

    title: str
    images: np.ndarray
    seconds: float
    names: Sequence[str]
    allocation: Sequence[int] | None
    evaluations: np.ndarray | None
    description: str
    command: str


class WatchedClock(StageClock):
    """A clock that reports each mark: one for each solver step, and one for the autoencoder."""

    def __init__(self, device: torch.device, report: Callable[[int], None]):
        super().__init__(device)
        self.report, self.num_marks = report, 0

    def mark(self, stage: str) -> None:
        super().mark(stage)
        self.num_marks += 1
        self.report(self.num_marks)


@dataclass
class Studio:
    """The networks of one pair or pipeline, and the pictures of the last wish.

    Attributes:
        base: overrides of every wish: which pair or pipeline, and in which precision.
        cancelled: the users who have asked to stop.
    """

    base: Sequence[str]
    jobs: Jobs
    cancelled: set[str] = field(default_factory=set)
    made: dict[tuple[str, ...], Picture] = field(default_factory=dict)

    def show(self, wish: Wish, watch: Watch, user: str = "") -> Iterator[Picture]:
        """Make the columns: the large denoiser alone, the stitched trajectory, the small one alone.

        All are checked before the first is sampled. What was made for the last wish is not made again.

        Raises:
            UserError: a value that cannot be used, or too little memory.
            CancelledError: `cancel` was called for this user meanwhile.
        """
        self.cancelled.discard(user)
        columns = {LARGE: wish.alone(wish.num_denoisers - 1), STITCHED: wish, SMALL: wish.alone(0)}
        asked = {title: (*self.base, *own.overrides()) for title, own in columns.items()}
        plans = {title: plan_run(compose_settings(wish.command, overrides)) for title, overrides in asked.items()}
        self.made = {overrides: picture for overrides, picture in self.made.items() if overrides in asked.values()}
        for title, overrides in asked.items():
            if overrides not in self.made:
                command = command_line(wish.command, overrides)
                self.made[overrides] = self._make(title, plans[title], command, watch, user)
            yield self.made[overrides]

    def cancel(self, user: str = "") -> None:
        """Let what `show` makes for a user stop after the step that it is at."""
        self.cancelled.add(user)

    def _make(self, title: str, plan: RunPlan, command: str, watch: Watch, user: str) -> Picture:
        num_steps = len(plan.timesteps)

        def report(num_marks: int) -> None:
            watch(title, min(num_marks, num_steps), num_steps)
            if user in self.cancelled:
                raise CancelledError

        job = self.jobs.job(plan)
        began = time.perf_counter()
        try:
            [(_, shard)] = job.shards([Block(0, plan.num_images)], WatchedClock(job.device, report))
        except Exception as error:
            if is_out_of_memory(error):
                raise UserError("memory ran out; ask for fewer images") from error
            raise
        seconds, evaluations = time.perf_counter() - began, None
        if plan.allocation is None:
            alike = [job.evaluations.get(name, 0) / plan.num_images for name in plan.names]
            evaluations = shard.decisions.get(COUNTS, np.tile(alike, (plan.num_images, 1)))
        return Picture(
            title, shard.images, seconds, plan.names, plan.allocation, evaluations, plan.describe(), command
        )  # fmt: skip


def open_studio(base: Sequence[str], first: Wish) -> Studio:
    """Load all networks, and let each make images, so that the first time on the page is no start-up.

    Raises:
        UserError: a setting, or weights, that cannot be used.
    """
    alone = [first.alone(index) for index in range(first.num_denoisers)]
    settings = [compose_settings(own.command, [*base, *own.overrides()]) for own in alone]
    plans = list(map(plan_run, settings))
    studio = Studio(base, make_jobs(plans, choose_device(settings[0].device, local_rank=0)))
    for own in alone:
        few = replace(own, num_steps=WARM_UP_STEPS)
        job = studio.jobs.job(plan_run(compose_settings(own.command, [*base, *few.overrides()])))
        job.sample(range(first.num_images), StageClock(job.device))
    return studio


def compose_settings(command: str, overrides: Sequence[str]) -> SamplingSettings | PromptSettings:
    """Compose and check settings as `python -m scripts.COMMAND OVERRIDES` does.

    Raises:
        UserError: names the value that cannot be used and what would be accepted.
    """
    is_ready = GlobalHydra.instance().is_initialized()  # in a command it is, in a test it is not
    try:
        with nullcontext() if is_ready else initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = compose(command, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain_composition(command, error, overrides)) from error
    return checked_settings(command, config)
