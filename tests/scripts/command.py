"""Run an entry point as a user does: in this process where that is enough, or in one of its own."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import pytest

from cli.command import run_command, run_parsed
from tests.conftest import ROOT

PYTHON = [sys.executable]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def run_here(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> Outcome:
    """Run `python -m scripts.<name> <arguments>` inside this process."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    if name == "prompts":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as the command does for its own process; later tests are online
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    code = 0
    try:
        module = import_module(f"scripts.{name}")
        if hasattr(module, "make_parser"):
            run_parsed(module.make_parser(), module.main)
        else:
            run_command(name, module.main)
    except SystemExit as stop:
        code = stop.code or 0
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


def start(*command: str, **kwargs) -> subprocess.Popen:
    """Start a command in the checkout: output in pipes, a process group of its own, SIGINT heard."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)  # a rank alone then has more threads than each of two
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **kwargs,
    )  # fmt: skip


def run(*command: str) -> Outcome:
    """Run a command in the checkout to its end."""
    process = start(*command)
    out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)
