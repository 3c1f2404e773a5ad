"""The window on an address of this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

from app.fields import make_fields
from app.studio import open_studio
from sampling.jobs import plan_run
from settings.app import AppSettings, PromptAppSettings
from tstitch.errors import UserError


def check_gradio() -> None:
    """Raise `UserError` where the extra is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("this command needs the extra 'app': pip install '.[research,app]'")


def serve(settings: AppSettings | PromptAppSettings, overrides: Sequence[str]) -> None:
    """Load the networks, print the address, and serve until Ctrl-C.

    Args:
        overrides: of the command line; those that no field of the page is for are part of every run.

    Raises:
        UserError: weights or settings that cannot be used, or a port that is taken.
    """
    fields = make_fields(settings, plan_run(settings), overrides)
    studio = open_studio(fields.base, fields.first)

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing leaves this machine
    from app.window import STYLE, THEME, make_window  # Gradio takes seconds, which a mistake should not wait for

    window = make_window(studio, fields)
    try:
        _, address, _ = window.launch(
            server_name=settings.host, server_port=settings.port or None, inbrowser=settings.browser, quiet=True,
            prevent_thread_lock=True, share=False, css=STYLE, theme=THEME, footer_links=[],
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"host={settings.host} port={settings.port} cannot be listened on; host=127.0.0.1 is this machine alone, "
            "port=0 takes a port that is free"
        ) from error
    except ValueError as error:  # Gradio calls its own address, which a proxy of the environment may take away
        raise UserError(f"the page cannot be reached at {settings.host}; set NO_PROXY={settings.host}") from error
    print(f"{address} (Ctrl-C ends it)")
    window.block_thread()
