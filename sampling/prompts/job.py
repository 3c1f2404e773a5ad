"""A plan of prompts at work: a pipeline and a block of image indices in, bytes out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from models.pipelines import load_scheduler
from models.placement.precision import products
from sampling.job import run_facts
from sampling.prompts.plan import PromptPlan
from tstitch.errors import UserError
from tstitch.noise import ImageNoise
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock


@dataclass(frozen=True)
class PromptJob:
    """Images of prompts, by a pipeline of diffusers. An image's label is the position of its caption."""

    plan: PromptPlan
    pipe: object
    device: torch.device

    @property
    def evaluations(self) -> dict[str, int]:
        """Nothing: the pipeline calls its denoisers."""
        return {}

    def facts(self) -> dict:
        facts = run_facts(self.plan, self.device, ("diffusers", "transformers", "numpy"))
        return {**facts, "captions": self.plan.captions}

    def shards(self, blocks: Sequence[Block], clock: StageClock) -> Iterator[tuple[Block, Shard]]:
        for block in blocks:
            indices = range(block.start, block.stop)
            yield block, Shard(self.sample(indices, clock), np.array(self._captions(indices), dtype=np.int64))

    def sample(self, indices: range, clock: StageClock) -> np.ndarray:
        self._set_up()
        clock.start()
        prompts = [self.plan.captions[caption] for caption in self._captions(indices)]
        images = self._to_bytes(indices, self._call(indices, prompts, clock))
        clock.mark("pipeline")
        return images

    def _captions(self, indices: range) -> list[int]:
        return [index % len(self.plan.captions) for index in indices]

    def _set_up(self) -> None:
        """Make the pipeline, which other plans may have used before, this plan's."""
        plan, pipe = self.plan, self.pipe
        pipe.set_progress_bar_config(disable=True)
        known = inspect.signature(type(pipe).__call__).parameters
        for key in plan.call:
            if key not in known:
                raise UserError(f"call.{key} is unknown to {type(pipe).__name__}; null leaves it out")
        if type(pipe.scheduler).__name__ != plan.sampler_name:
            pipe.scheduler = load_scheduler(plan.spec)
        if plan.spec.small:
            getattr(pipe, plan.spec.component).allocate(allocation=plan.allocation)

    def _call(self, indices: range, prompts: list[str], clock: StageClock) -> np.ndarray:
        """The pipeline's images (N, H, W, 3) float32 in [0, 1]; most pipelines let the clock see their steps."""
        plan, name = self.plan, type(self.pipe).__name__
        call = {**plan.call, "generator": ImageNoise(plan.seed, indices).generators()}
        if "callback_on_step_end" in inspect.signature(type(self.pipe).__call__).parameters:

            def after_step(pipe: object, index: int, timestep: object, latents: dict) -> dict:
                clock.mark("pipeline")
                return latents

            call["callback_on_step_end"] = after_step
        if plan.control_image is not None:
            call["image"] = [Image.open(plan.control_image).convert("RGB")] * len(indices)
        try:
            with products(plan.precision, self.device)(), _accelerated(plan, self.pipe, indices.start):
                result = self.pipe(prompts, output_type="np", **call)
        except UserError:
            raise
        except (TypeError, ValueError) as error:  # of what the pipeline is called with
            raise UserError(f"{name} refused the call: {error}") from error
        if not hasattr(result, "images"):
            raise UserError(f"{name} makes no images; this command samples text-to-image pipelines")
        return result.images

    def _to_bytes(self, indices: range, pixels: np.ndarray) -> np.ndarray:
        """Images (N, H, W, 3) uint8, in the size that the plan asks for."""
        plan, images = self.plan, []
        for index, own in zip(indices, pixels, strict=True):
            if not np.isfinite(own).all():
                advice = "; try precision=bf16 or float32" if plan.precision == "fp16" else ""
                raise UserError(f"image {index} has NaN or Inf in {plan.precision}{advice}")
            image = Image.fromarray((own * 255).round().astype(np.uint8))
            if plan.resize is not None:
                image = image.resize((plan.resize, plan.resize), Image.Resampling.BICUBIC)
            images.append(np.asarray(image))
        return np.stack(images)


@contextmanager
def _accelerated(plan: PromptPlan, pipe: object, first: int) -> Iterator[None]:
    """DeepCache on the large denoiser and token merging on all, as far as the plan has them."""
    helper = None
    if plan.deepcache_interval is not None:
        from DeepCache import DeepCacheSDHelper

        denoiser = getattr(pipe, plan.spec.component)
        large = denoiser.denoisers[-1] if plan.spec.small else denoiser
        # One for each call: what it has cached is of the trajectory before, and of where that one was switched.
        helper = DeepCacheSDHelper(pipe=SimpleNamespace(unet=large, scheduler=pipe.scheduler))
        helper.set_params(cache_interval=plan.deepcache_interval, cache_branch_id=0)
        helper.enable()
    if plan.tome_ratio is not None:
        import tomesd

        torch.manual_seed(plan.seed + first)  # it takes its random destinations from the global state
        tomesd.apply_patch(pipe, ratio=plan.tome_ratio)
    try:
        yield
    finally:
        if helper is not None:
            helper.disable()
        if plan.tome_ratio is not None:
            tomesd.remove_patch(pipe)
