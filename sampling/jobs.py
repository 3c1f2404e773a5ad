"""What makes the images of several plans with the same networks; for prompts see `prompts/jobs.py`."""

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
from tstitch.errors import UserError


class Jobs(Protocol):
    """Makes the jobs of plans that share their networks, which are loaded once, for the first job."""

    def job(self, plan: RunPlan) -> Job:
        """Make the job of one of the plans."""


def plan_run(settings: dict) -> RunPlan:
    """Make the plan of a configuration of `scripts.sample`, or of `scripts.prompts`, which names a pipeline."""
    if "large" not in settings:
        return make_plan(settings)

    from sampling.prompts.plan import make_prompt_plan  # imports the pipelines of diffusers: a second or two

    return make_prompt_plan(settings)


def explain_missing_pipeline(settings: dict) -> str | None:
    """Why no plan of prompts can be made here: no captions, or files that are not there; None where it can."""
    from sampling.prompts.plan import check_inputs

    try:
        check_inputs(settings)
    except UserError as error:
        return str(error)
    return None


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
