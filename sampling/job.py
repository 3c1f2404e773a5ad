"""Jobs: a checked plan with its networks, ready to make shards. Of images from class labels, or from prompts."""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sampling.batch import PendingBatch, sample_images, start_batch
from tstitch.errors import UserError
from tstitch.router import Ledger
from tstitch.runs.machine import device_name
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock

if TYPE_CHECKING:
    from models.placement.residency import Residency
    from sampling.plan import Plan
    from tstitch.allocation import Allocation


class RunPlan(Protocol):
    """Everything that is decided of a run before a network is loaded."""

    names: Sequence[str]  # of the denoisers, small to large
    fractions: Sequence[float] | None  # the share of the steps that each of them takes; None where images decide
    title: str  # what tells it from other plans of the same networks
    timesteps: Sequence[float]  # of the solver steps
    allocation: Allocation | None
    sampler_name: str
    residency: str  # how the denoisers share memory
    num_images: int
    batch_size: int
    evaluation: dict  # how the images are to be scored, unless a command says otherwise
    image_shape: tuple[int, int, int] | None  # (H, W, 3), where it is known
    image_bytes: int
    resolved_settings: list  # what a sweep may vary, resolved: plans that share the rest and agree in it are one run
    settings_of_large: list  # the part of them that decides the images of the large model alone

    def describe(self) -> str:
        """The resolved allocation and guidance, in a line."""

    def identity(self, device_type: str) -> dict:
        """Everything that decides the bytes of the images."""

    def directory_name(self) -> str:
        """The readable part of the default directory's name."""


class Job(Protocol):
    """The maker of a run's images, for `sampling.run.sample_run`."""

    plan: RunPlan
    device: torch.device

    @property
    def evaluations(self) -> dict[str, int]:
        """Evaluations of each denoiser's network so far, by name."""

    def facts(self) -> dict:
        """Describe what `run.json` says besides the identity."""

    def shards(self, blocks: Sequence[Block], clock: StageClock) -> Iterator[tuple[Block, Shard]]:
        """Make the shards of blocks, in order; each depends on its block alone. The clock gets the stages."""

    def sample(self, indices: range, clock: StageClock) -> np.ndarray:
        """Make the images (N, H, W, 3) uint8 of indices alone, as a latency measurement times it."""


def run_facts(plan: RunPlan, device: torch.device, packages: Sequence[str]) -> dict:
    """The facts of any job.

    Args:
        packages: that make the images, besides PyTorch; their versions are recorded.
    """
    return {
        "num_steps": len(plan.timesteps),
        "timesteps": plan.timesteps,
        "denoisers": plan.names,
        "fractions": plan.fractions,
        "evaluation": plan.evaluation,
        "device_name": device_name(device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: version(name) for name in packages},
        },
    }


@dataclass(frozen=True)
class ClassJob:
    """Images of class labels, by the networks of a pair."""

    plan: Plan
    networks: Residency
    device: torch.device
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def evaluations(self) -> dict[str, int]:
        return {self.plan.names[model]: count for model, count in sorted(self.ledger.evaluations.items())}

    def facts(self) -> dict:
        return run_facts(self.plan, self.device, ("diffusers", "timm", "numpy"))

    def shards(self, blocks: Sequence[Block], clock: StageClock) -> Iterator[tuple[Block, Shard]]:
        # A GPU works on the next batch while the host takes the bytes of this one; a CPU does one thing at a time.
        ahead = 1 if self.device.type == "cuda" else 0
        waiting: deque[tuple[Block, PendingBatch]] = deque()
        for block in blocks:
            indices = self._indices(block)
            waiting.append((block, start_batch(self.plan, self.networks, indices, self.device, clock, self.ledger)))
            if len(waiting) > ahead:
                yield self._finish(*waiting.popleft())
        while waiting:
            yield self._finish(*waiting.popleft())

    def sample(self, indices: range, clock: StageClock) -> np.ndarray:
        images, _ = sample_images(self.plan, self.networks, indices, self.device, clock)
        return images.numpy()

    def _indices(self, block: Block) -> range:
        # Compiled networks have one batch size, so a shorter block is sampled with the images that would follow.
        return range(block.start, block.stop if self.plan.compile == "none" else block.start + self.plan.batch_size)

    def _finish(self, block: Block, batch: PendingBatch) -> tuple[Block, Shard]:
        images, labels, decisions = batch.finish(len(block))
        autoencoder, expected = self.plan.autoencoder, self.plan.image_shape
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"autoencoder {autoencoder.name} gives images of shape {tuple(images.shape[1:])}, not {expected}; its "
                f"downsampling is not {autoencoder.downsampling}"
            )
        return block, Shard(images.numpy(), labels.numpy(), {name: own.numpy() for name, own in decisions.items()})
