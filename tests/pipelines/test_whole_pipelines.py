"""Pairs that a pipeline's source tells not to fit, pipelines that hold pipelines, and what a call leaves behind."""

import diffusers
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from tests.pipelines.families import FAMILIES, run, unet
from tests.pipelines.test_step_counter import takers
from tests.pipelines.tiny.calls import arguments, sample
from tests.pipelines.tiny.models import build
from tests.pipelines.tiny.pipelines import classes, denoiser, make
from tstitch import stitch, unstitch
from tstitch.errors import UserError

CONTROLS = (
    "FluxControlNetPipeline", "StableDiffusion3ControlNetPipeline", "HunyuanDiTControlNetPipeline",
    "QwenImageControlNetPipeline",
)  # fmt: skip


def small(name: str, **settings: object) -> nn.Module:
    """The small denoiser of a pipeline class, with other settings."""
    network = denoiser(classes()[name], "small")
    own = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return type(network)(**{**own, **settings}).eval()


@pytest.mark.parametrize("name", CONTROLS)
def test_a_controlnet_on_a_transformer_needs_the_same_width(name: str) -> None:
    pipe = make(classes()[name])
    assert stitch(pipe, small(name), fraction=0.5).denoisers[1] is not None
    unstitch(pipe)
    with pytest.raises(UserError, match=r"its blocks are \(64,\), the large one's \(32,\): a ControlNet fits only one"):
        stitch(pipe, small(name, num_attention_heads=4), fraction=0.5)


MISFITS = {
    "rotary embeddings": ("CogVideoXPipeline", {"use_rotary_positional_embeddings": True}, "use_rotary_positional_emb"),
    "head size": ("HunyuanDiTPipeline", {"attention_head_dim": 8, "num_attention_heads": 4}, "attention_head_dim is 8"),
    "layers with conditions": ("WanVACEPipeline", {"num_layers": 2, "vace_layers": [0, 1]}, r"vace_layers is \[0, 1\]"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_a_pipeline_prepares_by_the_large_one_must_agree(misfit: str) -> None:
    name, settings, message = MISFITS[misfit]
    pipe = make(classes()[name])
    with pytest.raises(UserError, match=message):
        stitch(pipe, small(name, **settings), fraction=0.5)
    assert not hasattr(pipe.transformer, "denoisers")


def test_a_scheduler_that_cannot_be_counted_leaves_the_pipeline_alone() -> None:
    pipe = make(classes()["ScoreSdeVePipeline"])
    large, before = pipe.unet, dict(vars(pipe.scheduler))
    with pytest.raises(UserError, match="steps of a ScoreSdeVeScheduler cannot be counted"):
        stitch(pipe, build(diffusers.UNet2DModel, "small"), fraction=0.5)
    assert pipe.unet is large
    assert vars(pipe.scheduler) == before


def test_memory_that_runs_out_in_stitch_leaves_the_pipeline_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, network = FAMILIES["sd"].build(), unet("small")
    large = pipe.unet

    def run_out(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(network, "_apply", run_out)
    with pytest.raises(MemoryError):
        stitch(pipe, network, fraction=0.5)
    assert pipe.unet is large
    assert "step" not in vars(pipe.scheduler)


def test_a_pipeline_in_a_pipeline_is_stitched_too() -> None:
    kind = classes()["KandinskyV22CombinedPipeline"]
    pipe = make(kind)
    large = pipe.unet
    stitched = stitch(pipe, denoiser(kind, "small"), fraction=0.5)
    assert pipe.decoder_pipe.unet is stitched
    calls = takers(stitched)
    sample(pipe, arguments(pipe))
    assert calls == [0, 0, 1, 1]
    unstitch(pipe)
    assert pipe.unet is large
    assert pipe.decoder_pipe.unet is large
    assert "step" not in vars(pipe.scheduler)


def layers(network: nn.Module) -> dict:
    """Its attention processors."""
    return dict(network.attn_processors)


@pytest.mark.parametrize("name", ["StableDiffusionPAGPipeline", "PixArtSigmaPAGPipeline", "TextToVideoZeroPipeline"])
def test_processors_of_a_call_reach_all_denoisers_and_are_taken_back(name: str) -> None:
    kind = classes()[name]
    pipe, network = make(kind), denoiser(kind, "small")
    call, seen, before = arguments(pipe), [], layers(network)
    stitched = stitch(pipe, network, fraction=0.5)
    network.register_forward_pre_hook(lambda *_: seen.append(layers(network) != before))
    sample(pipe, call)
    assert seen
    assert all(seen)
    assert layers(network) == before
    if "PAG" in name:
        sample(pipe, {**call, "pag_scale": 0.0})
        assert not any(seen[len(seen) // 2 :])
    assert "steps ran" not in stitched.describe()
    unstitch(pipe)
    assert layers(network) == before


class Broken(Exception):
    """A call that ends early."""


def break_off(pipe: object, call: dict) -> None:
    def stop(*_: object) -> None:
        raise Broken

    with pytest.raises(Broken):
        sample(pipe, {**call, "callback_on_step_end": stop})


def pag() -> tuple:
    kind = classes()["StableDiffusionPAGPipeline"]
    pipe, network = make(kind), denoiser(kind, "small")
    return pipe, network, stitch(pipe, network, fraction=0.5), arguments(pipe)


def test_processors_of_a_call_that_was_broken_off_are_taken_back_by_the_next() -> None:
    pipe, network, stitched, call = pag()
    before, of_large = layers(network), layers(stitched.denoisers[1])
    break_off(pipe, call)
    assert layers(network) != before
    sample(pipe, call)
    assert (layers(network), layers(stitched.denoisers[1])) == (before, of_large)


def test_processors_that_the_user_sets_after_a_call_that_was_broken_off_stay() -> None:
    pipe, network, stitched, call = pag()
    before = layers(network)
    break_off(pipe, call)
    own = dict.fromkeys(layers(stitched.denoisers[1]), AttnProcessor())
    stitched.set_attn_processor(dict(own))
    assert layers(network) == before
    sample(pipe, call)
    assert (layers(network), layers(stitched.denoisers[1])) == (before, own)
    with stitched.addressing(0):
        stitched.set_attn_processor(AttnProcessor())
    chosen = layers(network)
    unstitch(pipe)
    assert layers(network) == chosen != before


def test_processors_that_a_call_only_looks_at_are_the_users_to_change() -> None:
    """As a callback that calls `set_ip_adapter_scale` does."""
    pipe, network, _, call = pag()
    sample(pipe, {**call, "pag_scale": 0.0, "callback_on_step_end": lambda *_: {"seen": pipe.unet.attn_processors}})
    network.set_attn_processor(AttnProcessor())
    chosen = layers(network)
    sample(pipe, call)
    assert layers(network) == chosen
    unstitch(pipe)
    assert layers(network) == chosen


def test_an_inversion_is_a_trajectory_of_its_own_and_ends_with_the_small_one() -> None:
    kind = classes()["StableDiffusionDiffEditPipeline"]
    pipe = make(kind)
    stitched = stitch(pipe, denoiser(kind, "small"), boundary=400)
    calls = takers(stitched)
    sample(pipe, arguments(pipe))
    assert calls == [1, 1, 0, 0, 1, 1]


REFUSED_IN_THE_FIRST_CALL = {
    "Flux2KleinKVPipeline": "keeps keys and values of one denoiser",
    "StableDiffusionParadigmsPipeline": "predicts several steps at once",
}


def test_a_scheduler_that_goes_back_to_noisier_timesteps_is_refused() -> None:
    """RePaint jumps back where it is asked to; without jumps it is stitched."""
    kind = classes()["RePaintPipeline"]
    pipe = make(kind)
    calls = takers(stitch(pipe, denoiser(kind, "small"), fraction=0.5))
    sample(pipe, arguments(pipe))
    assert sorted(calls) == calls
    with pytest.raises(UserError, match="goes back to noisier timesteps"):
        sample(pipe, {**arguments(pipe), "num_inference_steps": 8, "jump_length": 2, "jump_n_sample": 2})


@pytest.mark.parametrize("name", REFUSED_IN_THE_FIRST_CALL)
def test_what_cannot_be_stitched_is_refused_before_the_first_step(name: str) -> None:
    kind = classes()[name]
    pipe = make(kind)
    attribute = "transformer" if hasattr(pipe, "transformer") else "unet"
    other = getattr(make(kind, "small"), attribute)
    stitched = stitch(pipe, other, fraction=0.5)
    calls = takers(stitched)
    with pytest.raises(UserError, match=REFUSED_IN_THE_FIRST_CALL[name]):
        sample(pipe, arguments(pipe))
    assert calls == []
    stitched.allocate(fraction=0)
    unstitch(pipe)


def test_the_plan_of_wan_depends_on_the_shift_of_its_scheduler() -> None:
    """Wan 2.2 switches at 0.875: few or most of the steps."""
    family, shares = FAMILIES["wan"], {}
    for shift in (1.0, 3.0, 12.0):
        pipe = family.build()
        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        stitched = stitch(pipe, family.denoiser("small"), boundary=875)
        plan = stitched.plan(num_inference_steps=40)
        assert len(plan) == 40
        assert all(step.sigma == pytest.approx(step.timestep / 1000, abs=1e-4) for step in plan)
        assert [step.model for step in plan] == [0 if step.timestep >= 875 else 1 for step in plan]
        shares[shift] = plan[0].share
    assert shares[1.0] < 0.15 < shares[3.0] < shares[12.0]
    assert shares[12.0] > 0.6


def test_a_stitched_denoiser_explains_itself() -> None:
    pipe = FAMILIES["sd"].build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    text = repr(pipe.unet)
    for denoiser_ in stitched.denoisers:
        assert f"{sum(each.numel() for each in denoiser_.parameters()):,} parameters, torch.float32, cpu" in text
    assert "fractions: [0.4, 0.6]; no run yet" in text
    with pytest.raises(UserError, match="set_timesteps does not take"):
        stitched.plan(4, nonsense=True)


def test_a_small_one_before_the_two_transformers_of_wan() -> None:
    """Wan 2.2 switches at a boundary of its own; the small one takes the first steps of the high-noise one."""
    family = FAMILIES["wan"]
    pipe, network = family.build(), family.denoiser("small")
    high, low = pipe.transformer, family.denoiser("small")
    pipe.register_modules(transformer_2=low)
    pipe.register_to_config(boundary_ratio=0.7)
    plain, whole = run(family, pipe), []
    with pytest.raises(UserError, match="of two transformers name one with component="):
        stitch(pipe, network, fraction=0.2)
    stitched = stitch(pipe, network, fraction=0, component="transformer")
    assert torch.equal(run(family, pipe), plain)
    stitched.allocate(fraction=0.2)
    calls = takers(stitched)
    low.register_forward_hook(lambda *_: whole.append(2))
    run(family, pipe)
    assert calls == [0] * 2 + [1] * (10 - 2 - len(whole))
    assert whole
    assert not torch.equal(run(family, pipe), plain)
    unstitch(pipe)
    assert (pipe.transformer, pipe.transformer_2) == (high, low)
    assert torch.equal(run(family, pipe), plain)


def test_a_pipeline_that_announces_fewer_calls_than_it_makes_is_told_so() -> None:
    kind = classes()["LTXI2VLongMultiPromptPipeline"]
    pipe = make(kind)
    pipe.scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    stitch(pipe, denoiser(kind, "small"), fraction=0.5)
    with pytest.raises(UserError, match="the run of 4 of 7 calls of its scheduler that the pipeline announced has"):
        sample(pipe, arguments(pipe))


def test_a_preview_at_the_switch() -> None:
    """The callback of a step finds in the allocation whether the next step is another denoiser's."""
    family = FAMILIES["sd"]
    pipe = family.build()
    stitched = stitch(pipe, unet("small"), fraction=0.4)
    previews = {}

    def preview(pipe: object, index: int, timestep: object, tensors: dict) -> dict:
        if stitched.allocation[index : index + 2] == (0, 1):
            previews[index] = pipe.vae.decode(tensors["latents"]).sample
        return tensors

    run(family, pipe, callback_on_step_end=preview)
    assert list(previews) == [1]
    assert previews[1].shape[-1] == 16
