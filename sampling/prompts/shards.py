"""A plan of prompts at work: a pipeline and a block of image indices in, bytes out."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from models.placement.precision import products
from sampling.prompts.plan import PromptPlan
from tstitch.errors import UserError
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock


def make_shards(
    plan: PromptPlan, pipe: object, device: torch.device, clock: StageClock, blocks: Sequence[Block]
) -> Iterator[tuple[Block, Shard]]:
    """The shards of blocks, in order; the bytes of each depend on the block alone."""
    pipe.set_progress_bar_config(disable=True)
    known = inspect.signature(type(pipe).__call__).parameters
    for key in plan.call:
        if key not in known:
            raise UserError(f"call.{key} is unknown to {type(pipe).__name__}; null leaves it out")
    control = Image.open(plan.control_image).convert("RGB") if plan.control_image else None

    def make_shard(block: Block) -> Shard:
        clock.start()
        indices = range(block.start, block.stop)
        captions = [index % len(plan.captions) for index in indices]
        call = {**plan.call, "generator": generators(plan.seed, indices)}
        if control is not None:
            call["image"] = [control] * len(indices)
        try:
            with products(plan.precision, device)(), _accelerated(plan, pipe, block):
                result = pipe([plan.captions[index] for index in captions], output_type="np", **call)
        except UserError:
            raise
        except (TypeError, ValueError) as error:  # of what the pipeline is called with
            raise UserError(f"{type(pipe).__name__} refused the call: {error}") from error
        clock.mark("pipeline")
        if not hasattr(result, "images"):
            raise UserError(f"{type(pipe).__name__} makes no images; this command samples text-to-image pipelines")
        for index, pixels in zip(indices, result.images, strict=True):
            if not np.isfinite(pixels).all():
                advice = "; try precision=bf16 or float32" if plan.precision == "fp16" else ""
                raise UserError(f"image {index} has NaN or Inf in {plan.precision}{advice}")
        images = [Image.fromarray((pixels * 255).round().astype(np.uint8)) for pixels in result.images]
        if plan.resize is not None:
            images = [image.resize((plan.resize, plan.resize), Image.Resampling.BICUBIC) for image in images]
        return Shard(np.stack([np.asarray(image) for image in images]), np.array(captions, dtype=np.int64))

    return ((block, make_shard(block)) for block in blocks)


def generators(seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """A generator for each image, on the CPU: start latents and step noise depend on (seed, index) alone."""
    draws = [np.random.Generator(np.random.Philox(key=[seed, index])).integers(2**63) for index in indices]
    return [torch.Generator().manual_seed(int(draw)) for draw in draws]


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
