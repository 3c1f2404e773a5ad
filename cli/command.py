"""The shared frame of every entry point: Hydra composes, the schema checks, a mistake ends in one line and code 2."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cli.arguments import Parser, check_flags
from cli.composition import checked_settings
from cli.crash import DEBUG, report_crash
from cli.explain import explain_composition
from cli.once import say_once
from models.checkout import CONFIG_DIR
from tstitch.errors import UserError, explain_system_error, is_out_of_memory
from tstitch.runs.environment import read_environment
from tstitch.runs.memory import keep_freed_memory

if TYPE_CHECKING:
    from settings.base import Settings

SOME_POINTS_FAILED, UNEXPECTED, USER_MISTAKE, INTERRUPTED, TERMINATED = 1, 1, 2, 130, 143
CONTINUED = ("sample", "sweep", "prompts", "sweep_prompts", "table", "train", "choose")  # they keep what was made
T = TypeVar("T")


def run_command(config_name: str, main: Callable[[Settings], None]) -> None:
    """Compose `configs/<config_name>.yaml` with the command line, check it, call `main` with the settings, and end.

    Exit codes: 0; 1 with a list of the points of a sweep that failed, or with one line for an exception that nobody
    expected; 2 with one line on stderr for what the user can fix (`UserError`, a configuration that does not compose,
    an operating system error such as a full disk, too little memory); 130 for Ctrl-C, 143 for SIGTERM.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own report
    prepare_process()
    if set(sys.argv[1:]) & {"--help", "-h"}:
        from cli.usage import print_help  # a command that runs does not wait for it

        try:
            print_help(config_name)
            sys.stdout.flush()
        except BrokenPipeError:
            _leave_pipe(0)
        return

    def check_and_run(config: DictConfig) -> None:
        main(checked_settings(config_name, config))

    run = guarded(check_and_run, continues=config_name in CONTINUED)
    try:
        check_flags(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(run)()
    except UserError as error:
        _stop(str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # What `main` raises has ended the process before.
        _stop(explain_composition(config_name, error, sys.argv[1:]))
    except OSError as error:  # of Hydra's own directories; some of its exceptions are of this class too
        _stop(explain_system_error(error))
    except Exception as error:
        _stop_unexpected(error)


def run_parsed(parser: Parser, main: Callable[[argparse.Namespace], None], continues: bool = False) -> None:
    """Parse the command line of an entry point without settings, call `main`, and end as `run_command` does."""
    prepare_process()
    guarded(lambda made: main(made.parse_args()), continues)(parser)


def prepare_process() -> None:
    """Settings of the process that must come before PyTorch is imported. A launcher's mistake ends it here."""
    try:
        local_world_size = read_environment().local_world_size
    except UserError as error:
        _stop(str(error))
    if local_world_size > 1:
        # Idle OpenMP threads must not spin where ranks share cores. Alone, spinning is twice as fast.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    # Imports make many objects that stay: a quarter of a dry run went on collections, most of it at Python's end.
    gc.set_threshold(20_000, 50, 100)
    atexit.register(gc.freeze)
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    # A terminal that cannot show a letter of a path shows its number.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")


def guarded(main: Callable[[T], None], continues: bool = False) -> Callable[[T], None]:
    """Wrap `main` so that a user's mistake, or an exception that nobody expected, ends the process in one line.

    This happens inside Hydra's job, because Hydra adds a line of its own to exceptions that leave it.

    Args:
        continues: the same command goes on where an interrupted one ended.
    """

    def run(arguments: T) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        warnings.formatwarning = _format_warning
        try:
            main(arguments)
        except BrokenPipeError:
            _leave_pipe()
        except OSError as error:
            _stop(explain_system_error(error))
        except (UserError, OmegaConfBaseException) as error:
            _stop(str(error))
        except Exception as error:
            if is_out_of_memory(error):
                _stop(_explain_memory(error, arguments))
            _stop_unexpected(error)
        except KeyboardInterrupt as interruption:
            if os.environ.get("RANK", "0") == "0":
                print("\ninterrupted" + "; the same command continues" * continues, file=sys.stderr)
            sys.exit(TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED)

    return run


def _leave_pipe(code: int = SOME_POINTS_FAILED) -> None:
    """End quietly: who read the output, such as `head`, has read enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail when Python flushes
    sys.exit(code)


def _format_warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    """Write a warning in one line, without the line of code that gave it."""
    kind = "warning" if category is UserWarning else category.__name__
    return f"{kind}: {' '.join(str(message).split())}\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM, as torchrun and batch systems send it: the process ends as after Ctrl-C."""


def _terminate(*_: object) -> None:
    raise Terminated


def stop_if_failed(failed: Sequence[str], num_points: int | None = None) -> None:
    """List the points that failed and end the process; nothing where there are none.

    Args:
        num_points: of how many, where the caller counts them.
    """
    if failed:
        count = f"{len(failed)}" if num_points is None else f"{len(failed)} of {num_points}"
        print(f"{count} points failed; the same command tries them again:", *failed, sep="\n", file=sys.stderr)
        sys.exit(SOME_POINTS_FAILED)


def _stop(message: str) -> None:
    message = message.split("full_key:")[0]  # OmegaConf adds lines of its own
    say_once(f"error: {' '.join(message.split())}")
    sys.exit(USER_MISTAKE)


def _stop_unexpected(error: Exception) -> None:
    """End the process with one line on an error that is ours; the traceback goes to a file, or is shown."""
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    else:
        print(f"error: {report_crash(error)}", file=sys.stderr)
    sys.exit(UNEXPECTED)


def _explain_memory(error: Exception, arguments: object) -> str:
    """One line for memory that ran out, with the command's settings that bear on it and that can still save some."""
    settings = OmegaConf.to_container(arguments, resolve=True) if isinstance(arguments, DictConfig) else {}
    remedies = {
        "batch_size": (1, "a smaller batch_size"),
        "batch_sizes": ([1], "smaller batch_sizes"),
        "precision": ("bf16", "precision=bf16"),
        "residency": ("staged", "residency=swap or residency=staged"),
        "device": ("cpu", "device=cpu"),
    }
    useful = {key: advice for key, (best, advice) in remedies.items() if settings.get(key, best) != best}
    now = ", ".join(f"{key}={settings[key]}" for key in useful)
    said = str(error).split(". ")[0].strip().rstrip(".")
    advice = ", ".join([*useful.values(), "or end what else uses this memory"])
    return f"memory ran out{f' at {now}' if now else ''} ({said or type(error).__name__}); try {advice}"
