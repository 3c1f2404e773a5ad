"""Fill a run's directory: make the shards that are missing, then merge them."""

import time
from collections.abc import Callable

from tstitch.ranks import Ranks
from tstitch.run import Run
from tstitch.shards import Block, Shard, merge_shards, npz_comment, read_shard, write_shard

REPORT_EVERY_S = 5.0


def generate(run: Run, ranks: Ranks, make_shard: Callable[[Block], Shard], show: Callable[[str], None]) -> None:
    """Make what is missing of `run`, rank by rank, and `samples.npz` once all shards are there.

    Args:
        run: an opened run.
        ranks: rank r takes the blocks r, r + world_size, ...
        make_shard: samples one block; it must depend on the block alone.
        show: takes progress lines, on rank 0.
    """
    mine = run.blocks[ranks.rank :: ranks.world_size]
    missing = [block for block in mine if read_shard(run.shards, block, run.id) is None]
    progress = _Progress(run, show) if ranks.is_main else None
    for block in missing:
        write_shard(run.shards, block, make_shard(block), run.id)
        if progress is not None:
            progress.update()
    ranks.wait_for_all()
    if ranks.is_main and (missing or npz_comment(run.samples) != run.id):
        merge_shards(run.shards, run.blocks, run.id, run.samples)
    ranks.wait_for_all()


class _Progress:
    """Lines such as `320/1000 images, 18.2 images/s, 37 s left` for all ranks, at most one every few seconds."""

    def __init__(self, run: Run, show: Callable[[str], None]):
        self.run, self.show, self.total = run, show, run.blocks[-1].stop
        self.before = self._count()
        self.started = self.shown = time.perf_counter()
        if self.before:
            show(f"{self.before}/{self.total} images are there already")

    def update(self) -> None:
        now = time.perf_counter()
        if now - self.shown < REPORT_EVERY_S:
            return
        self.shown = now
        done = self._count()
        rate = (done - self.before) / (now - self.started)
        self.show(f"{done}/{self.total} images, {rate:.1f} images/s, {(self.total - done) / rate:.0f} s left")

    def _count(self) -> int:
        present = {path.name for path in self.run.shards.iterdir()}
        return sum(len(block) for block in self.run.blocks if block.name in present)
