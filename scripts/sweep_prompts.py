"""Sweep fractions, guidance scales, schedulers and steps of a text-to-image pipeline: every point has the same noise.

python -m scripts.sweep_prompts prompts=table_2 captions=FILE fractions=0:1:0.1 out=DIR
"""

from cli.command import run_command
from scripts.sweep import main

if __name__ == "__main__":
    run_command("sweep_prompts", main)
