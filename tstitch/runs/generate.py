"""Fill a run's directory: make the shards that are missing, then merge them."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, check_space, merge_run
from tstitch.runs.shards import Block, Shard, missing_blocks, write_shard
from tstitch.runs.timing import StageClock


def generate(
    run: Run,
    ranks: Ranks,
    make_shards: Callable[[Sequence[Block]], Iterable[tuple[Block, Shard]]],
    image_bytes: int,
    report: Callable[[str], None],
    progress: Callable[[Sequence[Block]], Callable[[], None]],
    clock: StageClock,
    image_shape: tuple[int, ...] | None = None,
) -> None:
    """Make what is missing of `run`, rank by rank, and `samples.npz` once all shards are there.

    Args:
        run: an opened run.
        ranks: they share out what is missing; every rank looks through its part of what is there.
        make_shards: samples blocks, one after another; a shard must depend on its block alone.
        image_bytes: the size of one image, for the check of free space.
        report: takes a line on each shard that cannot be used.
        progress: called on rank 0 with the missing blocks; what it returns is called after each of its own.
        image_shape: (H, W, 3), where it is known before the images are made; shards of another shape are made again.
        clock: gets the stages `writing`, the wait for a shard to be on disk, and `merging`.
    """
    mine = run.blocks[ranks.rank :: ranks.world_size]
    missing_blocks_of_mine = missing_blocks(run.shards, mine, run.id, report, image_shape)
    missing_of_mine = [[block.start, block.stop] for block in missing_blocks_of_mine]
    missing = [Block(start, stop) for start, stop in sorted(chain.from_iterable(ranks.gather(missing_of_mine)))]
    update: Callable[[], None] = lambda: None  # noqa: E731
    if ranks.is_main:
        merged = run.blocks[-1].stop if missing or not run.samples.exists() else 0
        num_images = sum(map(len, missing)) + merged
        check_space(run.directory, num_images * image_bytes, f"what is missing of the run ({num_images} images)")
        update = progress(missing)
    _write_all(run, make_shards(missing[ranks.rank :: ranks.world_size]), update, clock)
    ranks.wait_for_all()
    if ranks.is_main:
        if missing:
            run.samples.unlink(missing_ok=True)
        clock.start()
        if merge_run(run):
            clock.mark("merging")
    ranks.wait_for_all()


def _write_all(run: Run, shards: Iterable[tuple[Block, Shard]], update: Callable[[], None], clock: StageClock) -> None:
    """Write shards while the next ones are made. One at most waits to be written, also when this is interrupted."""
    pending: Future[None] | None = None

    def wait() -> None:
        if pending is not None:
            clock.start()
            pending.result()
            clock.mark("writing")
            update()

    with ThreadPoolExecutor(1) as writer:
        for block, shard in shards:
            wait()
            pending = writer.submit(_write, run, block, shard)
        wait()


def _write(run: Run, block: Block, shard: Shard) -> None:
    check_space(run.directory, 2 * shard.images.nbytes, "the next shard")
    write_shard(run.shards, block, shard, run.id)
