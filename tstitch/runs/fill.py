"""The making of what a run lacks: find the missing blocks, write shards while the next ones are made, record, merge."""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from types import TracebackType

from tstitch.runs.json_files import write_json
from tstitch.runs.progress import Progress
from tstitch.runs.ranks import Ranks
from tstitch.runs.record import read_record
from tstitch.runs.run import Run, check_space, merge_run
from tstitch.runs.shards import Block, Shard, missing_blocks, write_shard
from tstitch.runs.timing import StageClock, peak_memory_mb


def find_missing(run: Run, ranks: Ranks, image_shape: tuple[int, ...] | None, image_bytes: int) -> list[Block]:
    """Find the blocks of a run that are to be made, in order; each rank looks through its part of what is there.

    A shard that cannot be used is reported and set aside.

    Args:
        image_shape: (H, W, 3), where it is known before images are made; shards of another shape are made again.
        image_bytes: the size of one image.

    Raises:
        UserError: the disk lacks the space for what is missing.
    """
    mine = missing_blocks(run.shards, run.blocks[ranks.rank :: ranks.world_size], run.id, print, image_shape)
    everybody = ranks.gather([[block.start, block.stop] for block in mine])
    missing = [Block(start, stop) for start, stop in sorted(chain.from_iterable(everybody))]
    if ranks.is_main:
        merged = run.blocks[-1].stop if missing or not run.samples.exists() else 0
        num_images = sum(map(len, missing)) + merged
        check_space(run.directory, num_images * image_bytes, f"what is missing of the run ({num_images} images)")
    return missing


class ShardWriter:
    """A writer of shards, while the next ones are made. One at most waits to be written, also when it is interrupted.

    Args:
        clock: gets the stage `writing`, the wait for a shard to be on disk.
        progress: shown after each shard that is on disk.
    """

    def __init__(self, run: Run, clock: StageClock, progress: Progress | None = None):
        self.run, self.clock, self.progress = run, clock, progress
        self.thread, self.pending = ThreadPoolExecutor(1), None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.thread.shutdown()  # an interrupted run keeps the shard that was finished
        if kind is None:
            self._wait()  # raises what the thread did

    def write(self, block: Block, shard: Shard) -> None:
        """Begin to write a shard, when the one before is on disk."""
        self._wait()
        self.pending: Future[None] | None = self.thread.submit(_write, self.run, block, shard)

    def _wait(self) -> None:
        if self.pending is not None:
            self.clock.start()
            self.pending.result()
            self.clock.mark("writing")
            self.pending = None
            if self.progress is not None:
                self.progress.show()


def _write(run: Run, block: Block, shard: Shard) -> None:
    check_space(run.directory, 2 * shard.images.nbytes, "the next shard")
    write_shard(run.shards, block, shard, run.id)


def merge_all(run: Run, is_new: bool, clock: StageClock) -> None:
    """Write `samples.npz`, where shards are new or it is not there; the clock gets the stage `merging`."""
    if is_new:
        run.samples.unlink(missing_ok=True)
    clock.start()
    if merge_run(run):
        clock.mark("merging")


def record_measurements(run: Run, ranks: Ranks, clock: StageClock, evaluations: dict[str, int]) -> None:
    """Add this launch's seconds by stage and evaluations, summed over ranks, to those of earlier ones in `run.json`.

    Of memory the largest value is kept. A launch that made nothing changes nothing.

    Args:
        evaluations: of each denoiser's network on this rank, by name.
    """
    launch = {"seconds": clock.totals(), "evaluations": evaluations, "peak_memory_mb": peak_memory_mb(clock.device)}
    launches = ranks.gather(launch)
    if not ranks.is_main:
        return
    facts = read_record(run.record)
    if "seconds" in facts and not any(launch["seconds"] for launch in launches):
        return  # nothing was made: what is there was measured where the images were made
    sums = {key: _sum(facts.get(key, {}), *(launch[key] for launch in launches)) for key in ("seconds", "evaluations")}
    peaks = facts.get("peak_memory_mb", {})
    for launch in launches:
        peaks = {place: round(max(peaks.get(place, 0), value)) for place, value in launch["peak_memory_mb"].items()}
    write_json(run.record, {**facts, **sums, "peak_memory_mb": peaks})


def _sum(*terms: dict[str, float]) -> dict[str, float]:
    keys = dict.fromkeys(key for term in terms for key in term)
    return {key: sum(term.get(key, 0) for term in terms) for key in keys}
