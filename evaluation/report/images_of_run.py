"""Images of a finished run, by index and by class."""

from collections.abc import Sequence

import numpy as np

from tstitch.runs.run import Run
from tstitch.runs.shards import read_shards


def first_of_each_class(run: Run, num_rows: int) -> dict[int, int]:
    """Return class -> index of its first image, for the lowest `num_rows` classes among the first shards."""
    first: dict[int, int] = {}
    for block, shard in zip(run.blocks, read_shards(run.shards, run.blocks, run.id), strict=True):
        for offset, label in enumerate(shard.labels.tolist()):
            first.setdefault(label, block.start + offset)
        if len(first) >= num_rows:
            break
    return dict(sorted(first.items())[:num_rows])


def read_images(run: Run, indices: Sequence[int]) -> list[np.ndarray]:
    """Read images (H, W, 3) uint8 of a run by their index."""
    wanted = [next(block for block in run.blocks if block.start <= index < block.stop) for index in indices]
    shards = {block: shard for block in set(wanted) for shard in read_shards(run.shards, [block], run.id)}
    return [shards[block].images[index - block.start] for block, index in zip(wanted, indices, strict=True)]
