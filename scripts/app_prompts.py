"""Open a window in the browser on a text-to-image pipeline and its smaller denoisers.

python -m scripts.app_prompts large=DIR small=[DIR] precision=float32
"""

from cli.command import run_command
from scripts.app import main

if __name__ == "__main__":
    run_command("app_prompts", main)
