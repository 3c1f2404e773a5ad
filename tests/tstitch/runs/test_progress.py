from pathlib import Path

from tstitch.runs.progress import Progress
from tstitch.runs.run import Run


def test_no_rate_is_shown_before_a_shard_is_on_disk(capsys, monkeypatch, tmp_path: Path) -> None:
    """A batch can take longer than the time between two lines, and its shard is written meanwhile."""
    monkeypatch.setattr("tstitch.runs.progress.REPORT_EVERY_S", 0.0)
    run = Run(tmp_path, {"num_images": 4, "batch_size": 2})
    run.shards.mkdir()
    progress = Progress(run, run.blocks, "0.4/0.6")
    progress.show()
    assert capsys.readouterr().out == ""
    (run.shards / run.blocks[0].name).touch()
    progress.show()
    assert capsys.readouterr().out.startswith("2/4 images, ")
