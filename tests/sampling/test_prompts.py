"""Images from captions, on a tiny pipeline saved to disk: ranks, resume, mistakes, and the paper's configurations."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import DDIMScheduler

from tests.conftest import ROOT
from tests.pipelines.families import FAMILIES, image, sdxl_unet, unet
from tests.pipelines.test_lora import lora_file
from tests.sampling.prompt_runs import CAPTIONS, arguments, save_weights
from tests.scripts.command import PYTHON, run, run_here, start
from tests.scripts.test_bad_input import check_one_line

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "configs/prompts").glob("*.yaml"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights"))


def images(out: Path) -> np.ndarray:
    with np.load(out / "samples.npz") as file:
        return file["arr_0"]


@pytest.mark.long
def test_two_ranks_give_the_bytes_of_one(tmp_path: Path, weights: Path) -> None:
    for name, launcher in {"one": PYTHON, "two": TORCHRUN}.items():
        outcome = run(*launcher, "-m", "scripts.prompts", *arguments(weights, tmp_path / name))
        assert outcome.code == 0, outcome.err
    assert "small takes 2 steps (t = 801..601), large takes 3 steps (t = 401..1)" in outcome.out
    assert (tmp_path / "one" / "samples.npz").read_bytes() == (tmp_path / "two" / "samples.npz").read_bytes()
    with np.load(tmp_path / "one" / "samples.npz") as file:
        assert file["arr_0"].shape == (7, 16, 16, 3)
        assert file["arr_1"].tolist() == list(range(7))
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["identity"]["allocation"] == [0, 0, 1, 1, 1]
    assert len(record["identity"]["pipeline"]["denoisers"]) == 2
    assert record["fractions"] == [0.4, 0.6]
    assert record["seconds"]["pipeline"] > 0
    assert json.loads((tmp_path / "one" / "run.json").read_text())["captions"] == CAPTIONS


@pytest.mark.long
def test_a_killed_run_continues_to_the_same_bytes(tmp_path: Path, weights: Path) -> None:
    command = [*PYTHON, "-m", "scripts.prompts", "num_images=60", "call.num_inference_steps=10"]
    process = start(*command, *arguments(weights, tmp_path / "killed")[:-1], "stitch.fraction=0.5")
    shards, deadline = tmp_path / "killed" / "shards", time.monotonic() + 120
    while len(list(shards.glob("*.npz"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(list(shards.glob("*.npz"))) < 30
    for name in ("killed", "whole"):
        outcome = run(*command, *arguments(weights, tmp_path / name)[:-1], "stitch.fraction=0.5")
        assert outcome.code == 0, outcome.err
        assert ("images are there already" in outcome.out) == (name == "killed")
    assert (tmp_path / "killed" / "samples.npz").read_bytes() == (tmp_path / "whole" / "samples.npz").read_bytes()


def test_an_image_depends_on_its_seed_and_index_alone(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    """Other batches round otherwise, other seeds give other images, and captions that come again new noise."""
    for name, changes in {"all": [], "few": ["num_images=4"], "one_by_one": ["batch_size=1"], "seed": ["seed=1"],
                          "again": ["num_images=9"]}.items():  # fmt: skip
        outcome = run_here(capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / name, *changes))
        assert outcome.code == 0, outcome.err
    whole = images(tmp_path / "all")
    assert np.array_equal(images(tmp_path / "few"), whole[:4])
    assert np.abs(images(tmp_path / "one_by_one").astype(int) - whole).max() <= 1
    assert np.abs(images(tmp_path / "seed").astype(int) - whole).mean() > 5
    again = images(tmp_path / "again")
    assert np.abs(again[7].astype(int) - again[0]).mean() > 5


def test_stochastic_schedulers_draw_from_each_image_alone(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    for name, size in {"two": 2, "three": 3}.items():
        changes = ["scheduler=EulerAncestralDiscreteScheduler", f"batch_size={size}"]
        assert run_here(capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / name, *changes)).code == 0
    assert np.abs(images(tmp_path / "two").astype(int) - images(tmp_path / "three")).max() <= 1


def test_the_command_samples_what_the_library_samples(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    from tstitch import stitch
    from tstitch.noise import ImageNoise

    assert run_here(capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / "out")).code == 0
    pipe = StableDiffusionPipeline.from_pretrained(weights / "large", safety_checker=None)
    stitch(pipe, UNet2DConditionModel.from_pretrained(weights / "small"), fraction=0.4)
    pipe.set_progress_bar_config(disable=True)
    found = pipe(
        CAPTIONS[:2],
        height=16,
        width=16,
        num_inference_steps=5,
        guidance_scale=7.5,
        generator=ImageNoise(0, [0, 1]).generators(),
    ).images
    difference = np.abs(images(tmp_path / "out")[:2].astype(int) - np.stack([np.asarray(each) for each in found]))
    assert difference.max() <= 1


def test_fractions_share_their_noise(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    """Fraction 0 is the plain large pipeline, also when no small denoiser is named."""
    plain = [*arguments(weights, tmp_path / "plain")[:-1], "small=[]"]
    assert run_here(capfd, monkeypatch, "prompts", *plain).code == 0
    zero = [*arguments(weights, tmp_path / "zero")[:-1], "stitch.fraction=0"]
    assert run_here(capfd, monkeypatch, "prompts", *zero).code == 0
    assert np.array_equal(images(tmp_path / "plain"), images(tmp_path / "zero"))


@pytest.mark.parametrize(
    "changes",
    [["deepcache_interval=3", "call.num_inference_steps=10"], ["large=TOP", "tome_ratio=0.5"], ["resize=8"],
     ["scheduler=LCMScheduler"], ["stitch.fraction=null", "stitch.counts=[1,4]"]],
)  # fmt: skip
def test_options_change_the_images_and_leave_them_reproducible(
    capfd, monkeypatch, tmp_path: Path, weights: Path, changes: list[str]
) -> None:
    # Token merging is of the layers of full size, where this UNet has attention, as SD has and the other has not.
    changes = [change.replace("TOP", str(weights / "top")) for change in changes]
    first = arguments(weights, tmp_path / "first", "num_images=4", *changes)
    assert run_here(capfd, monkeypatch, "prompts", *first).code == 0
    second = arguments(weights, tmp_path / "second", "num_images=4", *changes)
    assert run_here(capfd, monkeypatch, "prompts", *second).code == 0
    assert np.array_equal(images(tmp_path / "first"), images(tmp_path / "second"))
    plain = arguments(weights, tmp_path / "plain", "num_images=4", *changes[:1] * changes[0].startswith("large"))
    assert run_here(capfd, monkeypatch, "prompts", *plain).code == 0
    found = images(tmp_path / "first")
    assert found.shape == ((4, 8, 8, 3) if changes == ["resize=8"] else (4, 16, 16, 3))
    assert not np.array_equal(found, images(tmp_path / "plain"))


def test_the_lcm_pair_with_a_fused_lora(capfd, monkeypatch, tmp_path: Path) -> None:
    """Tables 10 and 11 in small: SDXL with the UNet of an LCM, a small one with its LoRA, four steps."""
    FAMILIES["sdxl"].build().save_pretrained(tmp_path / "sdxl")
    sdxl_unet("large", time_cond_proj_dim=8).save_pretrained(tmp_path / "lcm")
    sdxl_unet("small").save_pretrained(tmp_path / "small")
    lora = lora_file(tmp_path, sdxl_unet("small"), 0)
    settings = [
        "prompts=table_11", f"large={tmp_path / 'sdxl'}", f"large_denoiser={tmp_path / 'lcm'}", "prompt=a cat",
        f"small=[{tmp_path / 'small'}]", "call.height=16", "call.width=16", "precision=float32", "num_images=2",
    ]  # fmt: skip
    for name, loras in {"with": f"[{lora},null]", "without": "null"}.items():
        outcome = run_here(capfd, monkeypatch, "prompts", *settings, f"loras={loras}", f"out={tmp_path / name}")
        assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "with" / "run.json").read_text())
    assert record["identity"]["allocation"] == [0, 1, 1, 1]
    assert not np.array_equal(images(tmp_path / "with"), images(tmp_path / "without"))
    outcome = run_here(
        capfd, monkeypatch, "prompts", *settings, "loras=null", "allow=[]", f"out={tmp_path / 'refused'}"
    )
    check_one_line(outcome, "time_cond_proj_dim is None, the large one's 8")


def test_a_controlnet_from_its_folder(capfd, monkeypatch, tmp_path: Path) -> None:
    pipe = FAMILIES["sdxl_controlnet"].build()
    pipe.controlnet.save_pretrained(tmp_path / "controlnet")
    FAMILIES["sdxl"].build().save_pretrained(tmp_path / "sdxl")
    sdxl_unet("small").save_pretrained(tmp_path / "small")
    image().save(tmp_path / "edges.png")
    settings = [
        "prompts=figure_30", f"large={tmp_path / 'sdxl'}", f"small=[{tmp_path / 'small'}]", "vae=null",
        f"controlnet={tmp_path / 'controlnet'}", f"control_image={tmp_path / 'edges.png'}", "prompt=a cat",
        "call.height=16", "call.width=16", "call.num_inference_steps=5", "precision=float32",
    ]  # fmt: skip
    assert run_here(capfd, monkeypatch, "prompts", *settings, f"out={tmp_path / 'out'}").code == 0
    weak = [*settings, "call.controlnet_conditioning_scale=0.0", f"out={tmp_path / 'weak'}"]
    assert run_here(capfd, monkeypatch, "prompts", *weak).code == 0
    assert not np.array_equal(images(tmp_path / "out"), images(tmp_path / "weak"))


def test_weights_of_the_half_precision_variant_load(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    FAMILIES["sd"].build().save_pretrained(tmp_path / "large", variant="fp16")
    unet("small").save_pretrained(tmp_path / "small", variant="fp16")
    variant = [f"large={tmp_path / 'large'}", f"small=[{tmp_path / 'small'}]"]
    for name, changes in {"plain": [], "variant": variant}.items():
        outcome = run_here(capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / name, *changes))
        assert outcome.code == 0, outcome.err
    assert np.array_equal(images(tmp_path / "plain"), images(tmp_path / "variant"))


def test_runs_that_differ_in_how_a_prediction_is_converted_are_two(capfd, monkeypatch, tmp_path: Path, weights) -> None:
    """A small pipeline of v beside a large one of eps: turned at the same timestep, or by its own noise schedule."""
    small = FAMILIES["sd"].build()
    small.unet = unet("small")
    small.scheduler = DDIMScheduler(prediction_type="v_prediction")
    small.save_pretrained(tmp_path / "small")
    ids = []
    for last, allow in ((0.02, "prediction_type"), (0.02, "schedule"), (0.012, "schedule")):
        small.scheduler = DDIMScheduler(prediction_type="v_prediction", beta_end=last)
        small.scheduler.save_pretrained(tmp_path / "small/scheduler")
        settings = [f"small=[{tmp_path / 'small'}]", f"allow=[{allow}]", "num_images=2"]
        out = tmp_path / f"{allow}_{last}"
        outcome = run_here(capfd, monkeypatch, "prompts", *arguments(weights, out, *settings))
        assert outcome.code == 0, outcome.err
        ids.append(json.loads((out / "run.json").read_text())["run_id"])
    assert len(set(ids)) == 3, ids


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_names_the_missing_weights(capfd, monkeypatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "captions.txt").write_text("a cat\n")
    has_prompt = name.startswith("figure_2_") or name == "figure_16"
    more = [] if has_prompt else [f"captions={tmp_path / 'captions.txt'}"]
    more += ["control_image=edges.png"] if name == "figure_30" else []
    check_one_line(run_here(capfd, monkeypatch, "prompts", f"prompts={name}", *more), "weights are local files only")
    paper = yaml.safe_load((ROOT / "configs/prompts" / f"{name}.yaml").read_text())["paper"]
    lengths = {len(values) for values in paper.values() if isinstance(values, list)}
    assert len(lengths) == (0 if name == "bk_sdm_tiny" else 1)


def test_the_noise_of_an_image_is_its_own() -> None:
    from tstitch.noise import ImageNoise

    first, second = ImageNoise(0, [0, 1]).generators(), ImageNoise(0, [1, 2]).generators()
    draws = [[torch.randn(3, generator=generator) for generator in each] for each in (first, second)]
    assert torch.equal(draws[0][1], draws[1][0])
    assert not torch.equal(draws[0][0], draws[0][1])


@pytest.mark.parametrize("name", ["prompts", "evaluate"])
def test_help_is_shown(name: str) -> None:
    shown = run(*PYTHON, "-m", f"scripts.{name}", "--help")
    assert shown.code == 0
    assert f"python -m scripts.{name}" in shown.out


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(capfd, monkeypatch, tmp_path: Path) -> None:
    weights, out = save_weights(tmp_path), tmp_path / "out"
    settings = [*arguments(weights, out), "dry_run=true"]
    outcome = run_here(capfd, monkeypatch, "prompts", *settings)
    assert outcome.code == 0, outcome.err
    assert "small takes 2 steps" in outcome.out and "large takes 3 steps" in outcome.out
    assert f"{out}: 0 of 4 shards are there\n7 images to make\ndisk: 0.0 MB\n" in outcome.out
    assert not out.exists()
