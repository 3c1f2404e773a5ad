"""Jobs of several plans of prompts that share a pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from models.pipelines import load_pipeline
from models.placement.precision import DTYPES
from sampling.prompts.job import PromptJob
from sampling.prompts.plan import PromptPlan


@dataclass(frozen=True)
class PromptJobs:
    """Jobs of one pipeline's plans, which take turns with it."""

    plans: Sequence[PromptPlan]
    device: torch.device

    def __post_init__(self) -> None:
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # convolutions round by the number of threads, and ranks would have fewer each

    @cached_property
    def pipe(self) -> object:
        """The pipeline, stitched where it has small denoisers."""
        plan = self.plans[0]
        return load_pipeline(plan.spec, plan.allocation, DTYPES[plan.precision], self.device)

    def job(self, plan: PromptPlan) -> PromptJob:
        return PromptJob(plan, self.pipe, self.device)
