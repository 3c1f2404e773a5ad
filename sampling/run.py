"""A plan's run: where it is, what is recorded of it, and how its images are made. Shared by sample and sweep."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import torch

from models.placement.residency import Residency
from sampling.batch import BrokenImages, Finish, sample_images, start_images
from sampling.filling import REGENERATED, fill_run, place_run, run_facts
from sampling.networks import load_networks
from sampling.plan import Plan
from sampling.starts import Starts
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, open_run, read_json, write_json
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock

STAGED_IMAGES = 2048  # latents of 256-pixel images with a multistep history are 80 KB each; more is lost at a kill
TAKEN_OVER = "image_steps_taken_over"


def plan_run(plan: Plan, out: str | None, device: torch.device) -> Run:
    """The run of a plan: in `out`, or in a directory that is named after the configuration."""
    return place_run(out, plan.directory_name(), plan.identity(device.type))


def sample_run(
    plan: Plan, run: Run, networks: Residency, ranks: Ranks, device: torch.device, starts: Starts | None = None
) -> None:
    """Make what is missing of a run: rank 0 records it, every rank samples its blocks, rank 0 merges.

    Args:
        starts: those of earlier points of the same sweep. What the run takes over from them is recorded.
    """
    before = starts.image_steps if starts is not None else 0
    if ranks.is_main:
        packages = ("diffusers", "timm", "numpy")
        open_run(run, run_facts(plan.timesteps, plan.names, plan.fractions, plan.evaluation, device, packages))
    make_shards = partial(_make_shards, plan, run, networks, device, starts)
    fill_run(run, make_shards, plan.image_bytes, plan.fractions, ranks, device, plan.image_shape)
    if starts is not None and starts.image_steps > before:
        facts = read_json(run.record)
        taken_over = facts.get(TAKEN_OVER, 0) + starts.image_steps - before
        write_json(run.record, {**facts, TAKEN_OVER: taken_over})


def _make_shards(
    plan: Plan,
    run: Run,
    networks: Residency,
    device: torch.device,
    starts: Starts | None,
    clock: StageClock,
    blocks: Sequence[Block],
) -> Iterator[tuple[Block, Shard]]:
    """The shards of blocks, in order."""

    @cache
    def in_float32() -> tuple[Plan, Residency]:
        own = replace(plan, precisions=["float32"] * len(plan.specs), autoencoder_precision="float32", compile="none")
        return own, load_networks(own, device)

    def finished(block: Block, finish: Finish) -> tuple[Block, Shard]:
        try:
            images, labels = finish(len(block))
        except BrokenImages as error:
            if plan.on_nonfinite != "float32" or plan.is_float32:
                raise
            images, labels = error.sampled[0].clone(), error.sampled[1]
            for broken in error.images:
                images[broken.position] = sample_images(*in_float32(), [broken.index], device, clock)[0][0]
                place = run.directory / REGENERATED / f"{broken.index:08d}.json"
                place.parent.mkdir(exist_ok=True)
                write_json(place, {"index": broken.index, "label": broken.label, "broke_after": broken.place})
        if tuple(images.shape[1:]) != plan.image_shape:
            raise UserError(
                f"autoencoder {plan.autoencoder.name} gives images of shape {tuple(images.shape[1:])}, not "
                f"{plan.image_shape}; its downsampling is not {plan.autoencoder.downsampling}"
            )
        return block, Shard(images.numpy(), labels.numpy())

    # A GPU works on the next batch while the host takes the bytes of this one; a CPU has nothing else to do them with.
    ahead = 1 if device.type == "cuda" else 0
    waiting: deque[tuple[Block, Finish]] = deque()
    for group in _groups(plan, blocks):
        indices = [_indices(plan, block) for block in group]
        for started in zip(group, start_images(plan, networks, indices, device, clock, starts), strict=True):
            waiting.append(started)
            if len(waiting) > ahead:
                yield finished(*waiting.popleft())
    while waiting:
        yield finished(*waiting.popleft())


def _groups(plan: Plan, blocks: Sequence[Block]) -> list[Sequence[Block]]:
    """Blocks that go through each network together: one, or what `STAGED_IMAGES` allow where networks are staged."""
    size = max(1, STAGED_IMAGES // plan.batch_size) if plan.residency == "staged" else 1
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def _indices(plan: Plan, block: Block) -> range:
    # Compiled networks have one batch size, so a shorter block is sampled with the images that would follow.
    return range(block.start, block.stop if plan.compile == "none" else block.start + plan.batch_size)
