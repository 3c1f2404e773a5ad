"""Jobs of several plans that share their networks; those of prompts are in `prompts/jobs.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from models.placement.residency import Residency
from sampling.job import ClassJob, Job, RunPlan
from sampling.networks import load_networks
from sampling.plan import Plan, make_plan
from settings.prompts import PromptSettings
from settings.sampling import SamplingSettings


class Jobs(Protocol):
    """Makes the jobs of plans that share their networks, which are loaded once, for the first job."""

    def job(self, plan: RunPlan) -> Job:
        """Make the job of one of the plans."""


def plan_run(settings: SamplingSettings | PromptSettings) -> RunPlan:
    """Make the plan of the settings of `scripts.sample` or of `scripts.prompts`."""
    if isinstance(settings, SamplingSettings):
        return make_plan(settings)

    from sampling.prompts.plan import make_prompt_plan  # imports the pipelines of diffusers: a second or two

    return make_prompt_plan(settings)


def check_prompt_inputs(settings: PromptSettings) -> None:
    """Raise `UserError` for captions or files of a pipeline that are not there."""
    from sampling.prompts.plan import check_inputs

    check_inputs(settings)


def make_jobs(plans: Sequence[RunPlan], device: torch.device) -> Jobs:
    """Make what makes the jobs of plans of one pair, or of one pipeline."""
    if isinstance(plans[0], Plan):
        return ClassJobs(plans, device)

    from sampling.prompts.jobs import PromptJobs

    return PromptJobs(plans, device)


@dataclass(frozen=True)
class ClassJobs:
    """Jobs of one pair's plans: the denoisers that any of them uses are loaded together."""

    plans: Sequence[Plan]
    device: torch.device

    @cached_property
    def networks(self) -> Residency:
        """The networks, as the first plan has them in memory."""
        return load_networks(self.plans[0], self.device, {index for plan in self.plans for index in plan.used})

    def job(self, plan: Plan) -> ClassJob:
        return ClassJob(plan, self.networks, self.device)
