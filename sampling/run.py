"""A run on disk, filled by a job: the way from a plan to `samples.npz`."""

from pathlib import Path

import torch

from models.checkout import ROOT
from sampling.job import Job
from tstitch.errors import UserError, is_out_of_memory
from tstitch.runs.fill import ShardWriter, find_missing, merge_all, record_measurements
from tstitch.runs.progress import Progress
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, identity_hash, open_run
from tstitch.runs.timing import StageClock, restart_peak_memory


def place_run(out: str | None, name: str, identity: dict) -> Run:
    """The run of an identity: in `out`, or in a directory under `runs` that has a readable name."""
    return Run(Path(out) if out is not None else ROOT / "runs" / f"{name}-{identity_hash(identity)}", identity)


def sample_run(job: Job, run: Run, ranks: Ranks) -> None:
    """Make what is missing of a run: rank 0 records it, every rank makes its blocks, rank 0 merges.

    Args:
        run: whose directory rank 0 has locked.
        ranks: all of them call this.

    Raises:
        UserError: memory or the disk is too small, or an image has NaN or Inf.
    """
    if ranks.is_main:
        open_run(run, job.facts())
    ranks.wait_for_all()
    restart_peak_memory(job.device)
    clock, plan = StageClock(job.device), job.plan
    try:
        missing = find_missing(run, ranks, plan.image_shape, plan.image_bytes)
        progress = Progress(run, missing, plan.title) if ranks.is_main else None
        mine = missing[ranks.rank :: ranks.world_size]
        with ShardWriter(run, clock, progress) as writer:
            for block, shard in job.shards(mine, clock):
                writer.write(block, shard)
        ranks.wait_for_all()
        if ranks.is_main:
            merge_all(run, bool(missing), clock)
        ranks.wait_for_all()
    except (RuntimeError, MemoryError) as error:
        size = plan.batch_size
        if not is_out_of_memory(error) or size == 1:
            raise
        memory = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        raise UserError(
            f"out of {memory} at batch_size={size}; try batch_size={max(1, size // 2)} with another out"
        ) from error
    record_measurements(run, ranks, clock, job.evaluations)
