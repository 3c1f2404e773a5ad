from pathlib import Path

from tstitch.runs.progress import Bytes, Counter, Progress
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


def test_a_clock_that_is_set_back_changes_no_line(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tstitch.runs.progress.REPORT_EVERY_S", 0.0)
    monkeypatch.setattr("time.time", lambda: -1e9)
    run = Run(tmp_path, {"num_images": 4, "batch_size": 2})
    run.shards.mkdir()
    progress, counter, display = Progress(run, run.blocks, "0.4/0.6"), Counter("images"), Bytes().start("weights")
    monkeypatch.setattr("time.time", lambda: -2e9)
    (run.shards / run.blocks[0].name).touch()
    for show in (progress.show, lambda: counter(1, 2), lambda: display(1, 2), lambda: display(2, 2)):
        show()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert not any("-" in line for line in lines)
