"""What a run's record says after its launches, whatever makes its images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sampling.filling import fill_run, place_run, run_facts
from tstitch.errors import UserError
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run, open_run, read_json
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock

CPU, ONE_RANK = torch.device("cpu"), Ranks(0, 1, 0, 1)


def make_shards(clock: StageClock, blocks: Sequence[Block]) -> Iterator[tuple[Block, Shard]]:
    for block in blocks:
        clock.start()
        indices = np.arange(block.start, block.stop)
        shard = Shard(np.zeros((len(block), 2, 2, 3), dtype=np.uint8), indices)
        clock.mark("network")
        yield block, shard


def launch(run: Run, maker: object = make_shards) -> dict:
    """One launch; the record that it leaves."""
    open_run(run, run_facts([999, 0], ["small", "large"], [0.5, 0.5], {"metrics": ["fid"]}, CPU, ["numpy"]))
    fill_run(run, maker, 12, [0.5, 0.5], ONE_RANK, CPU)
    return read_json(run.record)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return place_run(str(tmp_path / "out"), "unused", {"num_images": 5, "batch_size": 2})


def test_a_record_has_facts_seconds_and_memory(run: Run) -> None:
    record = launch(run)
    assert record["num_steps"] == 2
    assert record["fractions"] == [0.5, 0.5]
    assert record["versions"].keys() == {"python", "torch", "numpy"}
    assert record["seconds"].keys() == {"network", "writing", "merging"}
    assert record["peak_memory_mb"]["host"] > 0
    assert record["regenerated"] == []


def test_seconds_add_up_over_launches(run: Run) -> None:
    first = launch(run)["seconds"]
    (run.shards / run.blocks[1].name).unlink()
    second = launch(run)["seconds"]
    assert all(second[stage] > first[stage] for stage in first)


def test_a_finished_run_keeps_its_record(run: Run) -> None:
    launch(run)
    before = run.record.read_bytes().replace(b'"device_name": "', b'"device_name": "another ')
    run.record.write_bytes(before)
    launch(run)
    assert run.record.read_bytes() == before


def test_too_little_gpu_memory_is_one_line(run: Run) -> None:
    def exhausted(clock: StageClock, blocks: Sequence[Block]) -> Iterator[tuple[Block, Shard]]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="out of GPU memory at batch_size=2; try batch_size=1 with another out"):
        launch(run, exhausted)


def test_without_out_the_place_is_named_after_the_identity() -> None:
    places = [place_run(None, "name", {"seed": seed}).directory for seed in (0, 0, 1)]
    assert places[0] == places[1] != places[2]
    assert places[0].name.startswith("name-")
    assert places[0].parent.name == "runs"
