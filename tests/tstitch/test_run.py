import json
from pathlib import Path

import numpy as np
import pytest

from tstitch.errors import UserError
from tstitch.generate import generate
from tstitch.ranks import Ranks
from tstitch.run import Run, check_run, load_run, open_run
from tstitch.shards import Block, Shard

IDENTITY = {"num_images": 10, "batch_size": 4, "seed": 0, "guidance": {"scale": 1.5}}
ONE_RANK = Ranks(0, 1, 0, 1)


def make_shard(block: Block) -> Shard:
    indices = np.arange(block.start, block.stop)
    return Shard(np.broadcast_to(indices[:, None, None, None], (len(block), 2, 2, 3)).astype(np.uint8), indices)


def test_id_depends_on_the_configuration_alone(tmp_path: Path) -> None:
    assert Run(tmp_path / "a", IDENTITY).id == Run(tmp_path / "b", dict(reversed(IDENTITY.items()))).id
    assert Run(tmp_path, {**IDENTITY, "seed": 1}).id != Run(tmp_path, IDENTITY).id


def test_directory_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    open_run(Run(tmp_path / "out", IDENTITY), {})
    open_run(Run(tmp_path / "out", IDENTITY), {})
    other = Run(tmp_path / "out", {**IDENTITY, "guidance": {"scale": 2.0}})
    with pytest.raises(UserError, match=r"another run; it differs in guidance.scale \(1.5 there, 2.0 here\)"):
        check_run(other)
    assert load_run(tmp_path / "out").identity == IDENTITY


def test_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"not empty and holds no run\.json"):
        check_run(Run(tmp_path, IDENTITY))
    with pytest.raises(UserError, match="is a file"):
        check_run(Run(tmp_path / "thesis.tex" / "run", IDENTITY))


@pytest.mark.parametrize("content", ["{", json.dumps({}), json.dumps({"identity": {"seed": 0}})])
def test_damaged_record_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError):
        load_run(tmp_path)


def test_generate_makes_only_what_is_missing_and_merges_again(tmp_path: Path) -> None:
    run, made, lines = Run(tmp_path / "out", IDENTITY), [], []
    open_run(run, {})

    def counting(block: Block) -> Shard:
        made.append(block)
        return make_shard(block)

    generate(run, ONE_RANK, counting, lines.append)
    complete = run.samples.read_bytes()
    assert made == [Block(0, 4), Block(4, 8), Block(8, 10)]
    with np.load(run.samples) as merged:
        assert merged["arr_1"].tolist() == list(range(10))

    generate(run, ONE_RANK, counting, lines.append)
    assert len(made) == 3
    (run.shards / Block(4, 8).name).write_bytes(b"torn")
    run.samples.unlink()
    generate(run, ONE_RANK, counting, lines.append)
    assert made[3:] == [Block(4, 8)]
    assert run.samples.read_bytes() == complete
    assert "10/10 images are there already" in lines
