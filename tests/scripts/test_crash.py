"""An exception that nobody expected: one line, the rest in a file, exit code 1."""

import sys
from pathlib import Path

import pytest

from cli.command import guarded, run_command


def crash(settings: object) -> None:
    raise ZeroDivisionError("of what\nnobody expected")


def run_merge(capfd, monkeypatch) -> str:
    """Run a command that raises, and return what it wrote on stderr."""
    monkeypatch.setattr(sys, "argv", ["merge", "run=somewhere"])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    with pytest.raises(SystemExit) as stop:
        run_command("merge", crash)
    assert stop.value.code == 1
    return capfd.readouterr().err


def test_a_log_file_has_the_traceback(capfd, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    line = run_merge(capfd, monkeypatch)
    assert line.startswith("error: unexpected ZeroDivisionError: of what nobody expected; its traceback is in runs/")
    assert line.count("\n") == 1
    [log] = (tmp_path / "runs/errors").iterdir()
    assert log.name in line
    text = log.read_text()
    for part in ("run=somewhere", "python 3.", "torch ", "Traceback (most recent call last)", "in crash"):
        assert part in text


def test_where_nothing_can_be_written_it_is_the_temporary_directory(capfd, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a directory would be")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    assert f"its traceback is in {tmp_path}/temporary/" in run_merge(capfd, monkeypatch)


def test_debug_shows_the_traceback(capfd, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSTITCH_DEBUG", "1")
    shown = run_merge(capfd, monkeypatch)
    assert "Traceback (most recent call last)" in shown and "in crash" in shown
    assert not (tmp_path / "runs").exists()


def test_commands_without_hydra_end_the_same_way(capfd, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        guarded(crash)(object())
    assert stop.value.code == 1
    assert "error: unexpected ZeroDivisionError" in capfd.readouterr().err
