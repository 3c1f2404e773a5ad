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
        plan = self.plan
        self.pipe.set_progress_bar_config(disable=True)
        known = inspect.signature(type(self.pipe).__call__).parameters
        for key in plan.call:
            if key not in known:
                raise UserError(f"call.{key} is unknown to {type(self.pipe).__name__}; null leaves it out")
        control = Image.open(plan.control_image).convert("RGB") if plan.control_image else None
        for block in blocks:
            clock.start()
            captions = [index % len(plan.captions) for index in range(block.start, block.stop)]
            pixels = self._call(block, [plan.captions[caption] for caption in captions], control)
            clock.mark("pipeline")
            yield block, Shard(self._to_bytes(block, pixels), np.array(captions, dtype=np.int64))

    def _call(self, block: Block, prompts: list[str], control: Image.Image | None) -> np.ndarray:
        """The pipeline's images (N, H, W, 3) float32 in [0, 1]."""
        plan, name = self.plan, type(self.pipe).__name__
        call = {**plan.call, "generator": ImageNoise(plan.seed, range(block.start, block.stop)).generators()}
        if control is not None:
            call["image"] = [control] * len(block)
        try:
            with products(plan.precision, self.device)(), _accelerated(plan, self.pipe, block):
                result = self.pipe(prompts, output_type="np", **call)
        except UserError:
            raise
        except (TypeError, ValueError) as error:  # of what the pipeline is called with
            raise UserError(f"{name} refused the call: {error}") from error
        if not hasattr(result, "images"):
            raise UserError(f"{name} makes no images; this command samples text-to-image pipelines")
        return result.images

    def _to_bytes(self, block: Block, pixels: np.ndarray) -> np.ndarray:
        """Images (N, H, W, 3) uint8, in the size that the plan asks for."""
        plan, images = self.plan, []
        for index, own in zip(range(block.start, block.stop), pixels, strict=True):
            if not np.isfinite(own).all():
                advice = "; try precision=bf16 or float32" if plan.precision == "fp16" else ""
                raise UserError(f"image {index} has NaN or Inf in {plan.precision}{advice}")
            image = Image.fromarray((own * 255).round().astype(np.uint8))
            if plan.resize is not None:
                image = image.resize((plan.resize, plan.resize), Image.Resampling.BICUBIC)
            images.append(np.asarray(image))
        return np.stack(images)


@contextmanager
def _accelerated(plan: PromptPlan, pipe: object, block: Block) -> Iterator[None]:
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

        torch.manual_seed(plan.seed + block.start)  # it takes its random destinations from the global state
        tomesd.apply_patch(pipe, ratio=plan.tome_ratio)
    try:
        yield
    finally:
        if helper is not None:
            helper.disable()
        if plan.tome_ratio is not None:
            tomesd.remove_patch(pipe)
