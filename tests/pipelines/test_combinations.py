"""DeepCache and token merging together with stitching (paper, figures 19 to 22), through their own packages."""

from types import SimpleNamespace

import tomesd
import torch
from DeepCache import DeepCacheSDHelper

from tests.pipelines.families import FAMILIES, run, unet
from tstitch import stitch, unstitch

SD = FAMILIES["sd"]


def count(module: torch.nn.Module) -> list:
    """What gets an entry at each call of `module`."""
    calls: list = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_deepcache_skips_inner_blocks_of_the_large_denoiser() -> None:
    """Interval 3 over the eight steps of the large one: full at its steps 0, 3 and 6."""
    pipe = SD.build()
    large = pipe.unet
    stitched = stitch(pipe, unet("small"), counts=[2, 8])
    plain = run(SD, pipe, num_inference_steps=10)
    calls = count(large.mid_block.resnets[0])
    helper = DeepCacheSDHelper(pipe=SimpleNamespace(unet=large, scheduler=pipe.scheduler))
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    cached = run(SD, pipe, num_inference_steps=10)
    helper.disable()
    assert len(calls) == 3
    assert not torch.equal(cached, plain)
    assert stitched.allocation == (0, 0) + (1,) * 8
    assert torch.equal(run(SD, pipe, num_inference_steps=10), plain)


def test_token_merging_in_both_denoisers() -> None:
    """Equal to a pipeline whose networks were patched one by one before they were stitched."""
    pipe, small = SD.build(), unet("small")
    stitched = stitch(pipe, small, fraction=0.4)
    plain = run(SD, pipe)
    patch = {"ratio": 0.5, "max_downsample": 2, "use_rand": False}
    tomesd.apply_patch(pipe, **patch)
    merged = run(SD, pipe)
    assert not torch.equal(merged, plain)
    names = {type(module).__name__ for each in stitched.denoisers for module in each.modules()}
    assert "ToMeBlock" in names
    tomesd.remove_patch(pipe)
    assert torch.equal(run(SD, pipe), plain)
    unstitch(pipe)
    for network in (small, pipe.unet):
        tomesd.apply_patch(network, **patch)
    stitch(pipe, small, fraction=0.4)
    assert torch.equal(run(SD, pipe), merged)
