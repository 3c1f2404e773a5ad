"""A plan's run on disk: what is recorded, made and merged. Shared by sample and sweep."""

import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from models.residency import Residency
from scripts.cli import ROOT
from scripts.networks import load_networks
from scripts.plan import Plan
from scripts.progress import Progress
from scripts.sampling import BrokenImages, sample_images, start_images
from tstitch.allocation import show_fractions
from tstitch.errors import UserError
from tstitch.generate import generate
from tstitch.ranks import Ranks
from tstitch.run import Run, identity_hash, open_run, read_json, write_json
from tstitch.shards import Block, Shard
from tstitch.timing import StageClock, peak_memory_mb, restart_peak_memory

REGENERATED = "regenerated"
STAGED_IMAGES = 2048  # latents of 256-pixel images with a multistep history are 80 KB each; more is lost at a kill


def plan_run(plan: Plan, out: str | None, device: torch.device) -> Run:
    """The run of a plan: in `out`, or in a directory that is named after the configuration."""
    identity = plan.identity(device.type)
    default = ROOT / "runs" / f"{plan.directory_name()}-{identity_hash(identity)}"
    return Run(Path(out) if out is not None else default, identity)


def sample_run(plan: Plan, run: Run, networks: Residency, ranks: Ranks, device: torch.device) -> None:
    """Make what is missing of a run: rank 0 records it, every rank samples its blocks, rank 0 merges."""
    if ranks.is_main:
        open_run(run, _facts(plan, device))
    make_shards = partial(_make_shards, plan, run, networks, device)
    fill_run(run, make_shards, plan.image_bytes, show_fractions(plan.fractions), ranks, device)


def fill_run(
    run: Run,
    make_shards: Callable[[StageClock, Sequence[Block]], Iterable[tuple[Block, Shard]]],
    image_bytes: int,
    label: str,
    ranks: Ranks,
    device: torch.device,
) -> None:
    """Make what is missing of a run that rank 0 has opened, and record its seconds by stage and its memory.

    Args:
        make_shards: samples blocks, one after another, and marks its stages on a clock.
        image_bytes: the size of one image.
        label: of the run in lines of progress.
    """
    ranks.wait_for_all()
    restart_peak_memory(device)
    clock = StageClock(device)
    generate(
        run,
        ranks,
        partial(make_shards, clock),
        image_bytes,
        print,
        lambda missing: Progress(run, missing, label),
        clock,
    )
    measured = ranks.gather((clock.totals(), peak_memory_mb(device)))
    if ranks.is_main:
        _record(run, [seconds for seconds, _ in measured], [peaks for _, peaks in measured])


def _make_shards(
    plan: Plan, run: Run, networks: Residency, device: torch.device, clock: StageClock, blocks: Sequence[Block]
) -> Iterator[tuple[Block, Shard]]:
    """The shards of blocks, in order."""

    @cache
    def in_float32() -> tuple[Plan, Residency]:
        own = replace(plan, precisions=["float32"] * len(plan.specs), autoencoder_precision="float32", compile="none")
        return own, load_networks(own, device)

    def finished(block: Block, finish: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Block, Shard]:
        try:
            images, labels = finish()
        except BrokenImages as error:
            if plan.on_nonfinite != "float32" or plan.is_float32:
                raise
            images, labels = error.sampled[0].clone(), error.sampled[1]
            for broken in error.images:
                images[broken.position] = sample_images(*in_float32(), [broken.index], device, clock)[0][0]
                place = run.directory / REGENERATED / f"{broken.index:08d}.json"
                place.parent.mkdir(exist_ok=True)
                write_json(place, {"index": broken.index, "label": broken.label, "broke_after": broken.place})
        return block, Shard(images[: len(block)].numpy(), labels[: len(block)].numpy())

    # A GPU works on the next batch while the host takes the bytes of this one; a CPU has nothing else to do them with.
    ahead = 1 if device.type == "cuda" else 0
    waiting: deque[tuple[Block, Callable[[], tuple[Tensor, Tensor]]]] = deque()
    try:
        for group in _groups(plan, blocks):
            indices = [_indices(plan, block) for block in group]
            for started in zip(group, start_images(plan, networks, indices, device, clock), strict=True):
                waiting.append(started)
                if len(waiting) > ahead:
                    yield finished(*waiting.popleft())
        while waiting:
            yield finished(*waiting.popleft())
    except torch.cuda.OutOfMemoryError as error:
        smaller = max(1, plan.batch_size // 2)
        raise UserError(
            f"out of GPU memory at batch_size={plan.batch_size}; try batch_size={smaller} with another out"
        ) from error


def _groups(plan: Plan, blocks: Sequence[Block]) -> list[Sequence[Block]]:
    """Blocks that go through each network together: one, or what `STAGED_IMAGES` allow where networks are staged."""
    size = max(1, STAGED_IMAGES // plan.batch_size) if plan.residency == "staged" else 1
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def _indices(plan: Plan, block: Block) -> range:
    # Compiled networks have one batch size, so a shorter block is sampled with the images that would follow.
    return range(block.start, block.stop if plan.compile == "none" else block.start + plan.batch_size)


def _facts(plan: Plan, device: torch.device) -> dict:
    return {
        "num_steps": len(plan.timesteps),
        "timesteps": plan.timesteps,
        "denoisers": plan.names,
        "fractions": plan.fractions,
        "evaluation": plan.evaluation,
        "device_name": device_name(device),
        "versions": versions("diffusers", "timm", "numpy"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Of Python, PyTorch and further packages."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    return found | {name: version(name) for name in packages}


def _record(run: Run, seconds: list[dict[str, float]], peaks: list[dict[str, float]]) -> None:
    """Add this launch's seconds by stage, summed over ranks, to those of earlier ones; keep the largest memory."""
    facts = read_json(run.record)
    total, peak = facts.get("seconds", {}), facts.get("peak_memory_mb", {})
    for own in seconds:
        total = {stage: total.get(stage, 0) + own.get(stage, 0) for stage in [*total, *(own.keys() - total.keys())]}
    for own in peaks:
        peak = {place: round(max(peak.get(place, 0), value)) for place, value in own.items()}
    regenerated = [read_json(path) for path in sorted((run.directory / REGENERATED).glob("*.json"))]
    write_json(run.record, {**facts, "seconds": total, "peak_memory_mb": peak, "regenerated": regenerated})


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor_name()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
