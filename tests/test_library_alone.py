"""`pip install .` brings `tstitch` with PyTorch and diffusers only: what a user of it needs imports nothing else."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

BLOCKED = ["hydra", "omegaconf", "wandb", "timm", "torch_fidelity", "transformers", "accelerate", "peft", "matplotlib"]
BLOCK = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {BLOCKED} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
SNIPPET = """
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from tstitch import stitch, unstitch

def dit(heads):
    return DiTTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000,
    ).eval()

large, small = dit(4), dit(2)
pipe = DiTPipeline(large, AutoencoderKL(norm_num_groups=4, block_out_channels=(8,)).eval(), DDIMScheduler())
stitched = stitch(pipe, small, fraction=0.4)
image = pipe([3], num_inference_steps=5, output_type="np", generator=torch.Generator().manual_seed(0)).images[0]
assert image.shape == (8, 8, 3), image.shape
assert stitched.allocation == (0, 0, 1, 1, 1)
assert unstitch(pipe).transformer is large
print("stitched")
"""


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_snippet_runs_without_the_research_packages() -> None:
    assert "stitched" in run_python(BLOCK + SNIPPET)


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match="No module named 'timm'"):
        run_python(BLOCK + "import timm")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, tstitch; print([name for name in ('torch', 'diffusers', 'numpy') if name in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    import tstitch

    with pytest.raises(AttributeError, match="has no attribute 'sew'"):
        _ = tstitch.sew
