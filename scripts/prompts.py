"""Sample images from prompts with a stitched text-to-image pipeline; also under torchrun.

python -m scripts.prompts prompts=table_2 captions=FILE stitch.fraction=0.3 out=DIR
"""

from cli.command import run_command
from scripts.sample import main

if __name__ == "__main__":
    run_command("prompts", main)
