"""What several ranks of a launch have to say, said once."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

FRESH_S = 60.0  # a marker that is older is of another launch, whose torchrun had this process number


def is_first_to_say(message: str) -> bool:
    """Tell whether no other rank of this launch on this machine has said the same. Ranks share their parent, torchrun.

    Where it cannot be known, it is said: twice is better than never.
    """
    if os.environ.get("LOCAL_WORLD_SIZE", "1") == "1":
        return True
    name = hashlib.sha256(f"{os.getppid()} {message}".encode()).hexdigest()[:16]
    marker = Path(tempfile.gettempdir()) / f"tstitch-said-{name}"
    with suppress(OSError):
        if time.time() - marker.stat().st_mtime > FRESH_S:
            marker.unlink()
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
