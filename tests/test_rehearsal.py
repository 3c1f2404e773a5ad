"""Dress rehearsal: the ImageNet commands of the pages, in a fresh checkout, on files as they are published."""

import json
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.newcomer import (
    edit_yaml,
    expect_other_bytes,
    expect_small_networks,
    make_checkout,
    page_commands,
    published_files,
    run_line,
)

DIT = ["dit_s_256", "dit_xl_256", "sd_vae_ft_ema", "inception", "imagenet256_reference"]
LDM = ["ldm_s_256", "ldm_256", "vq_f8"]
IMAGENET = ("README.md", "ImageNet")
FROM_HERE = ("docs/imagenet.md", "From here to ImageNet on 8 GPUs")
RANKS = min(2, torch.cuda.device_count()) or 2
# Settings that only say how much: fewer ranks, images and steps; nothing else of a command is changed. Precision and
# recall need four images.
SMALLER = {
    r"--nproc-per-node 8": f"--nproc-per-node {RANKS}",
    r"num_images=\d+": "num_images=4",
    r"batch_size=\d+": "batch_size=1",
    r"num_steps=\d+": "num_steps=2",
    r"GPUS=8": f"GPUS={RANKS} TABLE_SETTINGS='num_images=4 batch_size=1 num_steps=2 fractions=[0,1]'",
}
SWEEP = " batch_size=1 sampler.num_steps=2"


def scaled_down(command: str) -> str:
    for pattern, smaller in SMALLER.items():
        command = re.sub(pattern, smaller, command)
    return command + SWEEP if "scripts.sweep" in command and "dry_run" not in command else command


def check_run(out: Path, metric: str, side: int) -> None:
    with np.load(out / "samples.npz") as samples:
        assert samples["arr_0"].shape == (4, side, side, 3)
        assert samples["arr_0"].std() > 0
    result = json.loads((out / "result.json").read_text())
    assert np.isfinite(result["metrics"][metric])
    assert result["protocol"]["extractor"] == "inception-v3-compat"


def test_the_pages_commands_fetch_sample_and_score() -> None:
    """What the rehearsal runs is what a reader sees: nothing of the way from the files to a table is left out."""
    commands = page_commands(*IMAGENET)
    for pair in ("dit_s_xl", "ldm_s_ldm"):
        assert f"python -m scripts.weights fetch pair={pair}" in commands
        assert any(f"scripts.sample pair={pair} " in command for command in commands)
    assert sum("scripts.evaluate run=runs/" in command for command in commands) == 2
    assert "python -m scripts.weights fetch pair=dit_s_xl" in page_commands(*FROM_HERE)


@pytest.mark.long
def test_a_first_hour_with_small_networks(tmp_path: Path) -> None:
    """The commands of the DiT pair on small files in the published formats."""
    checkout = make_checkout(tmp_path / "checkout")
    expect_other_bytes(checkout)
    expect_small_networks(checkout)
    commands = page_commands(*IMAGENET)
    with published_files(DIT, tmp_path / "published", full_size=False) as mirror:
        for command in commands[: next(i for i, command in enumerate(commands) if "ldm_s_ldm" in command)]:
            score = (
                " 'metrics=[inception_score]'" if "scripts.evaluate" in command else ""
            )  # FID takes most of the time
            run_line(checkout, scaled_down(command) + score, mirror)
    check_run(checkout / "runs/s_xl_40", "inception_score", side=64)


@pytest.mark.slow
def test_a_first_hour_at_full_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkout = make_checkout(tmp_path / "checkout")
    expect_other_bytes(checkout)
    # A table has no setting for how often it measures latency.
    edit_yaml(checkout / "configs/sweep.yaml", lambda content: content["latency"].update(batch_size=1, repeats=1))
    from_here = [command for command in page_commands(*FROM_HERE) if command != "make demo"]  # CI runs it
    with published_files([*DIT, *LDM], tmp_path / "published", full_size=True) as mirror:
        for command in [*page_commands(*IMAGENET), *from_here]:
            run_line(checkout, scaled_down(command), mirror)
    for name in ("s_xl_40", "ldm_40"):
        check_run(checkout / "runs" / name, "fid4", side=256)
    table = (checkout / "tables/table9.md").read_text()
    assert "fid" in table.lower() and "9.2" in table
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of a process: {peak_gib:.1f} GiB")
    assert peak_gib < 16
