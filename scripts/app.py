"""Open a window in the browser: large, stitched and small side by side.

python -m scripts.app pair=fashion_dit_s_xl
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.command import run_command

if TYPE_CHECKING:
    from settings.app import AppSettings, PromptAppSettings


def main(settings: AppSettings | PromptAppSettings) -> None:
    from hydra.core.hydra_config import HydraConfig

    from app.serve import check_gradio, serve

    check_gradio()
    serve(settings, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    run_command("app", main)
