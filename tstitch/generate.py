"""Fill a run's directory: make the shards that are missing, then merge them."""

from collections.abc import Callable, Sequence

from tstitch.ranks import Ranks
from tstitch.run import Run, check_space, merge_run
from tstitch.shards import Block, Shard, missing_blocks, write_shard
from tstitch.timing import StageClock


def generate(
    run: Run,
    ranks: Ranks,
    make_shard: Callable[[Block], Shard],
    image_bytes: int,
    report: Callable[[str], None],
    progress: Callable[[Sequence[Block]], Callable[[], None]],
    clock: StageClock,
) -> None:
    """Make what is missing of `run`, rank by rank, and `samples.npz` once all shards are there.

    Args:
        run: an opened run.
        ranks: they share out what is missing; every rank looks through its part of what is there.
        make_shard: samples one block; it must depend on the block alone.
        image_bytes: the size of one image, for the check of free space.
        report: takes a line on each shard that cannot be used.
        progress: called on rank 0 with the missing blocks; what it returns is called after each of its own.
        clock: gets the stages `writing` and `merging`.
    """
    mine = run.blocks[ranks.rank :: ranks.world_size]
    found = ranks.gather(missing_blocks(run.shards, mine, run.id, report))
    missing = sorted((block for part in found for block in part), key=lambda block: block.start)
    if ranks.is_main:
        merged = run.blocks[-1].stop if missing or not run.samples.exists() else 0
        num_images = sum(map(len, missing)) + merged
        check_space(run.directory, num_images * image_bytes, f"what is missing of the run ({num_images} images)")
        update = progress(missing)
    for block in missing[ranks.rank :: ranks.world_size]:
        shard = make_shard(block)
        check_space(run.directory, 2 * shard.images.nbytes, "the next shard")
        write_shard(run.shards, block, shard, run.id)
        clock.mark("writing")
        if ranks.is_main:
            update()
    ranks.wait_for_all()
    if ranks.is_main:
        if missing:
            run.samples.unlink(missing_ok=True)
        clock.start()
        if merge_run(run):
            clock.mark("merging")
    ranks.wait_for_all()
