"""What a run's record says after its launches, whatever job makes its images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from sampling.job import run_facts
from sampling.run import place_run, sample_run
from tstitch.errors import UserError
from tstitch.runs.json_files import read_json
from tstitch.runs.ranks import Ranks
from tstitch.runs.run import Run
from tstitch.runs.shards import Block, Shard
from tstitch.runs.timing import StageClock


@dataclass(frozen=True)
class BlackPlan:
    names = ("small", "large")
    fractions = (0.5, 0.5)
    title = "0.5/0.5"
    timesteps = (999, 0)
    batch_size = 2
    evaluation = {"metrics": ["fid"]}  # noqa: RUF012
    image_shape = (2, 2, 3)
    image_bytes = 12


@dataclass(frozen=True)
class BlackJob:
    """Makes black images; with `error`, breaks instead."""

    error: Exception | None = None
    plan = BlackPlan()
    device = torch.device("cpu")
    evaluations = {"small": 3}  # noqa: RUF012

    def facts(self) -> dict:
        return run_facts(self.plan, self.device, ["numpy"])

    def shards(self, blocks: Sequence[Block], clock: StageClock) -> Iterator[tuple[Block, Shard]]:
        if self.error is not None:
            raise self.error
        for block in blocks:
            clock.start()
            indices = np.arange(block.start, block.stop)
            shard = Shard(np.zeros((len(block), 2, 2, 3), dtype=np.uint8), indices)
            clock.mark("network")
            yield block, shard


def launch(run: Run, job: BlackJob = BlackJob()) -> dict:
    """One launch; the record that it leaves."""
    sample_run(job, run, Ranks(0, 1, 0, 1))
    return read_json(run.record)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return place_run(str(tmp_path / "out"), "unused", {"num_images": 5, "batch_size": 2})


def test_a_record_has_facts_seconds_evaluations_and_memory(run: Run) -> None:
    record = launch(run)
    assert record["num_steps"] == 2
    assert record["fractions"] == [0.5, 0.5]
    assert record["versions"].keys() == {"python", "torch", "numpy"}
    assert record["seconds"].keys() == {"network", "writing", "merging"}
    assert record["evaluations"] == {"small": 3}
    assert record["peak_memory_mb"]["host"] > 0


def test_seconds_and_evaluations_add_up_over_launches(run: Run) -> None:
    first = launch(run)["seconds"]
    (run.shards / run.blocks[1].name).unlink()
    record = launch(run)
    assert all(record["seconds"][stage] > first[stage] for stage in first)
    assert record["evaluations"] == {"small": 6}


def test_a_finished_run_keeps_its_record(run: Run) -> None:
    launch(run)
    before = run.record.read_bytes().replace(b'"device_name": "', b'"device_name": "another ')
    run.record.write_bytes(before)
    launch(run)
    assert run.record.read_bytes() == before


def test_too_little_gpu_memory_is_one_line(run: Run) -> None:
    with pytest.raises(UserError, match="out of GPU memory at batch_size=2; try batch_size=1 with another out"):
        launch(run, BlackJob(torch.cuda.OutOfMemoryError("CUDA out of memory")))


def test_without_out_the_place_is_named_after_the_identity() -> None:
    places = [place_run(None, "name", {"seed": seed}).directory for seed in (0, 0, 1)]
    assert places[0] == places[1] != places[2]
    assert places[0].name.startswith("name-")
    assert places[0].parent.name == "runs"
