"""A plan at work: networks and noise in, images in shards out. Shared by sample and sweep."""

import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from models.autoencoder import decode
from models.pair import Pair
from scripts.cli import ROOT
from scripts.plan import Plan
from tstitch.generate import generate
from tstitch.guidance import GuidedDenoiser
from tstitch.images import to_uint8
from tstitch.noise import ImageNoise
from tstitch.ranks import Ranks
from tstitch.run import Run, identity_hash, open_run
from tstitch.sampling import sample
from tstitch.shards import Block, Shard
from tstitch.solvers import trajectory_steps

VERSIONED = ("diffusers", "timm", "numpy")


def plan_run(plan: Plan, out: str | None, device: torch.device) -> Run:
    """The run of a plan: in `out`, or in a directory that is named after the configuration."""
    identity = plan.identity(device.type)
    default = ROOT / "runs" / f"{plan.directory_name()}-{identity_hash(identity)}"
    return Run(Path(out) if out is not None else default, identity)


def sample_run(plan: Plan, run: Run, pair: Pair, ranks: Ranks, device: torch.device) -> None:
    """Make what is missing of a run: rank 0 records it, every rank samples its blocks, rank 0 merges.

    Compiled networks have one batch size, so there a block that is shorter is sampled with the images
    that would follow it.
    """
    if ranks.is_main:
        facts = {
            "num_steps": len(plan.timesteps),
            "timesteps": plan.timesteps,
            "denoisers": plan.names,
            "fractions": plan.fractions,
            "evaluation": plan.evaluation,
            "device_name": device_name(device),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                **{name: version(name) for name in VERSIONED},
            },
        }
        open_run(run, facts)
    ranks.wait_for_all()

    def make_shard(block: Block) -> Shard:
        stop = block.stop if plan.compile == "none" else block.start + plan.batch_size
        images, labels = sample_images(plan, pair, range(block.start, stop), device)
        return Shard(images[: len(block)].numpy(), labels[: len(block)].numpy())

    generate(run, ranks, make_shard, show=print)


def sample_images(plan: Plan, pair: Pair, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sample the images of `indices`: bytes (N, H, W, 3) and labels (N,), both on the CPU."""
    config = plan.specs[0].config
    shape = (config.in_channels, config.input_size, config.input_size)
    noise = ImageNoise(plan.seed, indices)
    labels = noise.labels(config.num_classes)
    latents = sample(
        [
            denoiser
            and GuidedDenoiser(
                denoiser,
                scale,
                plan.channels,
                unconditional=partial(denoiser.unconditional, noise=noise, index=i),
                conditional=denoiser.conditional,
            )
            for i, (denoiser, scale) in enumerate(zip(pair.denoisers, plan.scales, strict=True))
        ],
        plan.allocation,
        plan.solver,
        trajectory_steps(plan.schedule, plan.timesteps),
        noise.latents(shape).to(device),
        labels.to(device),
        noise=lambda index: noise.step(index, shape).to(device),
        history=plan.history,
    )
    with torch.inference_mode():
        return to_uint8(decode(pair.autoencoder, latents)).cpu(), labels


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor_name()}, {torch.get_num_threads()} threads"


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
