"""Messages of several ranks of a launch, printed once."""

import hashlib
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

FRESH_S = 60.0  # a marker that is older is of another launch, whose torchrun had this process number
PATIENCE_S, POLL_S = 5.0, 0.02


def say_once(message: str) -> None:
    """Print a message to stderr, unless another rank of this launch on this machine has said the same.

    Ranks share their parent, torchrun, which ends all of them when the first one ends: so a rank that stays silent
    waits until the message is out. Where it cannot be known, it is said: twice is better than never.
    """
    if os.environ.get("LOCAL_WORLD_SIZE", "1") == "1":
        print(message, file=sys.stderr)
        return
    name = hashlib.sha256(f"{os.getppid()} {message}".encode()).hexdigest()[:16]
    marker = Path(tempfile.gettempdir()) / f"tstitch-said-{name}"
    with suppress(OSError):
        if time.time() - marker.stat().st_mtime > FRESH_S:
            marker.unlink()
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        _wait_until_said(marker)
        return
    except OSError:
        pass
    print(message, file=sys.stderr, flush=True)
    with suppress(OSError):
        marker.write_text("said")


def _wait_until_said(marker: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if marker.stat().st_size:
                return
        time.sleep(POLL_S)
