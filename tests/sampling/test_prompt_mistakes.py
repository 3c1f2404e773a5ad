"""What a user can get wrong about captions, weights and settings of a run from prompts: one line, exit code 2."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.pipelines.families import FAMILIES, unet
from tests.sampling.prompt_runs import arguments, save_weights
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights"))


MISTAKES = {
    "captions=nowhere.txt": "nowhere.txt does not exist; give one prompt a line",
    "captions=null": "give one of captions=FILE and prompt='...'",
    "prompt=a cat": "give one of captions=FILE and prompt='...'",
    "large=nowhere": "nowhere is not the folder of a pipeline (no model_index.json); weights are local files only",
    "large=[3]": "large must be a path, got [3]",
    "large=null": "large must be a path, got null",
    "small=[nowhere]": "nowhere/unet holds no diffusers model (no config.json); weights are local files only",
    "small=nowhere": "small must be a list of paths, got 'nowhere'",
    "loras=[nowhere.safetensors,null]": "nowhere.safetensors does not exist",
    "loras=[null]": "loras needs 2 entries",
    "scheduler=Eular": "unknown scheduler 'Eular'; known: ",
    "scheduler=FlowMatchEulerDiscreteScheduler": "is for flow matching, ",
    "prompts=table_3": "unknown prompts 'table_3'; did you mean table_2 or table_10 or table_11? known: bk_sdm_tiny",
    "stitch.fraction=1.5": "stitch.fraction must be a number from 0 to 1, got 1.5",
    "stitch.counts=[1,4]": "got stitch.fraction and stitch.counts",
    "stitch.ratio=0.3": "unknown key 'stitch.ratio'; did you mean stitch.fraction or stitch.fractions? known in",
    "call.num_inference_steps=0": "call.num_inference_steps must be a whole number of 1 or more, got 0",
    "call.height=tall": "call.height must be a whole number of 1 or more, got 'tall'",
    "call.height=17": "StableDiffusionPipeline refused the call",
    "call.guidance_scale=high": "call.guidance_scale must be a number of 0 or more, got 'high'",
    "call.num_inference_steps=5000": "DDIMScheduler refused 5000 steps",
    "+call.output_type=pil": "call.output_type is this command's own; leave it out",
    "allow=guidance_embedding": "allow must be a list of texts, got 'guidance_embedding'",
    "call.controlnet_conditioning_scale=0.5": "call.controlnet_conditioning_scale is unknown to StableDiffusion",
    "batch_size=0": "batch_size must be a whole number of 1 or more, got 0",
    "seed=-1": "seed must be a whole number of 0 or more, got -1",
    "precision=[fp16,bf16]": "precision must be one of float32, tf32, bf16, fp16, got ['fp16', 'bf16']",
    "precision=fp8": "precision must be one of float32, tf32, bf16, fp16, got 'fp8'",
    "tome_ratio=2": "tome_ratio must be a number above 0 and up to 0.75, got 2",
    "deepcache_interval=0": "deepcache_interval must be a whole number of 1 or more, got 0",
    "control_image=nowhere.png": "controlnet and control_image go together",
    "device=tpu": "device must be one of auto, cpu, cuda, got 'tpu'",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_one_line(capfd, monkeypatch, tmp_path: Path, weights: Path, argument: str) -> None:
    key = argument.partition("=")[0]
    given = [each for each in arguments(weights, tmp_path / "out") if not each.startswith(f"{key}=")]
    check_one_line(run_here(capfd, monkeypatch, "prompts", *given, argument), MISTAKES[argument])
    assert not (tmp_path / "out" / "samples.npz").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "\n\n", "holds no captions"),
        ("gap.txt", "a cat\n\na hat\n", "has an empty caption at 2"),
        ("coco.json", "{}", "coco.json: annotations must be a list, got null"),
        ("broken.json", "{", "broken.json is not valid JSON: "),
    ],
)
def test_captions_that_cannot_be_read(
    capfd, monkeypatch, tmp_path: Path, weights: Path, name, content, message
) -> None:
    (tmp_path / name).write_text(content)
    outcome = run_here(
        capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / "out", f"captions={tmp_path / name}")
    )
    check_one_line(outcome, message)


def test_coco_captions_are_the_first_of_each_image(tmp_path: Path) -> None:
    from sampling.prompts.captions import read_captions

    annotations = [
        {"image_id": 9, "id": 4, "caption": "a dog"},
        {"image_id": 2, "id": 8, "caption": "later"},
        {"image_id": 2, "id": 3, "caption": " two\n cats "},
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": annotations}))
    assert read_captions(tmp_path / "captions.json") == ["two cats", "a dog"]


def test_another_run_in_the_directory_is_refused(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    few = arguments(weights, tmp_path / "out", "num_images=2")
    assert run_here(capfd, monkeypatch, "prompts", *few).code == 0
    outcome = run_here(capfd, monkeypatch, "prompts", *few[:-2], "num_images=2", "stitch.fraction=0.6")
    check_one_line(outcome, "holds another run; it differs in allocation")


def test_other_settings_of_the_pipeline_are_another_run(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    large, out = tmp_path / "large", tmp_path / "out"
    shutil.copytree(weights / "large", large)
    given = [*arguments(weights, out, "num_images=1"), f"large={large}"]
    assert run_here(capfd, monkeypatch, "prompts", *given).code == 0
    index = json.loads((large / "model_index.json").read_text())
    (large / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": True}))
    check_one_line(run_here(capfd, monkeypatch, "prompts", *given), "holds another run; it differs in pipeline")


def test_damaged_weights_are_one_line(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    unet("small").save_pretrained(tmp_path / "small")
    file = tmp_path / "small" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    outcome = run_here(
        capfd, monkeypatch, "prompts", *arguments(weights, tmp_path / "out", f"small=[{tmp_path / 'small'}]")
    )
    check_one_line(outcome, f"{tmp_path / 'small'} cannot be loaded")


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_damaged_settings_are_one_line(capfd, monkeypatch, tmp_path: Path, weights: Path, name: str) -> None:
    shutil.copytree(weights / "large", tmp_path / "large")
    (tmp_path / "large" / name).write_text("{")
    damaged = arguments(weights, tmp_path / "out", f"large={tmp_path / 'large'}")
    check_one_line(run_here(capfd, monkeypatch, "prompts", *damaged), f"{name} is not valid JSON")


def test_nan_is_named_and_nothing_is_written(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    network = unet("large")
    torch.nn.init.constant_(network.conv_out.bias, torch.inf)
    network.save_pretrained(tmp_path / "broken")
    broken = arguments(weights, tmp_path / "out", f"large_denoiser={tmp_path / 'broken'}")
    check_one_line(run_here(capfd, monkeypatch, "prompts", *broken), "image 0 has NaN or Inf in float32")
    assert not list((tmp_path / "out" / "shards").glob("*.npz"))


def test_unet_only_options_are_refused_for_transformers(capfd, monkeypatch, tmp_path: Path, weights: Path) -> None:
    FAMILIES["pixart"].build().save_pretrained(tmp_path / "pixart")
    FAMILIES["pixart"].denoiser("small").save_pretrained(tmp_path / "small")
    pixart = arguments(weights, tmp_path / "out", f"large={tmp_path / 'pixart'}", f"small=[{tmp_path / 'small'}]")
    outcome = run_here(capfd, monkeypatch, "prompts", *pixart, "tome_ratio=0.5")
    check_one_line(outcome, "tome_ratio is for pipelines with a unet")
    more = ["call.guidance_scale=null", "+call.use_resolution_binning=false", "+call.clean_caption=false"]
    assert run_here(capfd, monkeypatch, "prompts", *pixart, *more).code == 0
