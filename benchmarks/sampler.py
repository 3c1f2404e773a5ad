"""Our sampler beside diffusers' with the very same weights and beside our plain mode: `python -m benchmarks.sampler`.

DiT-S/2 and DiT-XL/2 with random weights, 256 pixels, guidance scale 1.5, decoding included. All candidates of a network
live in one process and take turns; what is reported are medians and ratios to our float32 eager mode. The autoencoder
is float32 unless a candidate says otherwise.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from hydra import compose, initialize_config_dir

from evaluation.speed.latency import measure_latency
from experiments.latency import precision_tflops
from models.checkout import CONFIG_DIR
from models.denoisers import DiTDenoiser
from models.networks.dit import DiT, dit_config, sincos_position_embedding
from models.pair import Pair
from models.placement.compiled import MODES, compile_pair
from models.placement.place import place
from models.placement.precision import products
from models.weights.layouts import dit_state_from_diffusers
from sampling.batch import sample_images
from sampling.configuration import checked
from sampling.cost import flops_per_image
from sampling.plan import Plan, make_plan
from tstitch.denoiser import Prediction
from tstitch.runs.machine import describe_machine
from tstitch.runs.timing import StageClock

RESULTS = Path(__file__).parent / "results"
SCALE = 1.5
PLAIN = "ours, float32"
NETWORK, DENOISER, AUTOENCODER = "network", "denoiser", "autoencoder"
SIZES = {"S": (12, 6, 64), "XL": (28, 16, 72)}  # depth, heads, width of a head
NUM_STEPS = {"cpu": {"S": 20, "XL": 4}, "cuda": {"S": 50, "XL": 50}}
COMPILE = {"cpu": ("none", "default"), "cuda": ("none", "default", "max")}
Call = Callable[[StageClock], object]


@dataclass(frozen=True)
class Setting:
    """The settings that all candidates of a network share."""

    size: str
    num_steps: int
    batch_size: int
    device: torch.device

    @property
    def index(self) -> int:
        """Of the network in the pair of S and XL."""
        return 1 if self.size == "XL" else 0


class Marked:
    """A denoiser whose calls are a stage of their own on another clock."""

    def __init__(self, denoiser: DiTDenoiser, clock: StageClock):
        self.denoiser, self.clock = denoiser, clock
        self.conditional, self.unconditional = denoiser.conditional, denoiser.unconditional

    def __call__(self, *arguments: torch.Tensor) -> Prediction:
        self.clock.start()
        prediction = self.denoiser(*arguments)
        self.clock.mark(NETWORK)
        return prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--num-steps", type=int, help=f"by default {NUM_STEPS}")
    parser.add_argument("--batch-size", type=int, help="by default 4 on a CPU, 64 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", nargs="+", choices=MODES, help=f"modes; by default {COMPILE}")
    parser.add_argument("--out", type=Path, default=RESULTS / "sampler.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    batch_size = arguments.batch_size or (64 if device.type == "cuda" else 4)
    modes = arguments.compile or COMPILE[device.type]
    result = {
        "machine": describe_machine(device),
        "batch_size": batch_size,
        "guidance_scale": SCALE,
        "repeats": arguments.repeats,
        "tf32": "off in all candidates, in matrix products and convolutions",
        "networks": {},
    }
    for size in arguments.sizes:
        num_steps = arguments.num_steps or NUM_STEPS[device.type][size]
        setting = Setting(size, num_steps, batch_size, device)
        result["networks"][f"DiT-{size}/2"] = measure(setting, modes, arguments.repeats)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")  # a time limit may come before the next network
    print(json.dumps(result, indent=2))


def measure(setting: Setting, modes: Sequence[str], repeats: int) -> dict:
    """Seconds of a batch by candidate, beside the rate of the device in matrix products."""
    torch.manual_seed(0)
    theirs = _diffusers_network(setting.size).state_dict()
    plan = _plan(setting)
    ours = _our_candidates(setting, plan, theirs, modes)
    calls = {name: _ours(*candidate, setting) for name, candidate in ours.items()}
    calls |= _their_candidates(setting, theirs, modes)
    rates = {name: precision_tflops(name, setting.device) for name in ("float32", "bf16")}
    latencies = dict(zip(calls, measure_latency(list(calls.values()), repeats, setting.device), strict=True))
    gflops = setting.batch_size * flops_per_image(plan) / 1e9
    candidates = {}
    for name, latency in latencies.items():
        denoiser_s = latency.stages_s.get(DENOISER, latency.stages_s.get(plan.names[setting.index]))
        rate = 1000 * rates["bf16" if "bf16" in name else "float32"]
        candidates[name] = {
            "seconds": latency.median_s,
            "all_seconds": latency.totals_s,
            "stages_s": latency.stages_s,
            "times_our_float32": latencies[PLAIN].median_s / latency.median_s,
            "denoiser_s": denoiser_s,
            "share_of_matmul_rate": gflops / denoiser_s / rate,
        }
        if name in ours:
            candidates[name]["outside_networks"] = _outside_networks(*ours[name], setting)
    return {"num_steps": setting.num_steps, "matmul_tflops": rates, "candidates": candidates}


def _our_candidates(
    setting: Setting, plan: Plan, theirs: dict[str, torch.Tensor], modes: Sequence[str]
) -> dict[str, tuple[Plan, Pair]]:
    """Plans and networks of our loop by name, all with the same weights."""
    config = dit_config(f"DiT-{setting.size}/2", input_size=32)
    state = dit_state_from_diffusers(theirs) | {"pos_embed": sincos_position_embedding(config.hidden_size, 16)}

    def build(precision: str) -> DiT:
        network = DiT(config)
        network.load_state_dict(state)
        return place(network, precision, setting.device)

    calls, plain = {}, cache(build)
    asked = [(precision, "float32", mode) for precision in ("float32", "bf16") for mode in modes]
    fastest = [("bf16", "bf16", mode) for mode in dict.fromkeys((modes[0], modes[-1]))]
    for precision, decoding, mode in [*asked, *fastest]:
        network = plain(precision) if mode == "none" else build(precision)
        denoisers = [None, None]
        denoisers[setting.index] = DiTDenoiser(network, products(precision, setting.device))
        autoencoder = place(make_autoencoder(), decoding, setting.device)
        pair = Pair(denoisers, autoencoder, products(decoding, setting.device))
        compile_pair(pair, mode, setting.device)
        own = replace(plan, precisions=[precision] * len(plan.specs), autoencoder_precision=decoding, compile=mode)
        compiled = {"none": "", "default": ", compiled", "max": ", compiled max"}[mode]
        calls[f"ours, {precision}{compiled}{', autoencoder too' if decoding == 'bf16' else ''}"] = own, pair
    return calls


def _ours(plan: Plan, pair: Pair, setting: Setting) -> Call:
    return lambda clock: sample_images(plan, pair, range(setting.batch_size), setting.device, clock)


def _outside_networks(plan: Plan, pair: Pair, setting: Setting) -> float:
    """The share of a batch's time that passes neither in calls of the denoiser nor in decoding."""
    inside, stages = StageClock(setting.device), StageClock(setting.device)
    denoisers = [denoiser and Marked(denoiser, inside) for denoiser in pair.denoisers]
    started = time.perf_counter()
    sample_images(plan, replace(pair, denoisers=denoisers), range(setting.batch_size), setting.device, stages)
    total = time.perf_counter() - started
    return 1 - (inside.totals()[NETWORK] + stages.totals()[AUTOENCODER]) / total


def _their_candidates(setting: Setting, theirs: dict[str, torch.Tensor], modes: Sequence[str]) -> dict[str, Call]:
    """diffusers' pipeline by name."""
    autoencoder, calls = place(make_autoencoder(), "float32", setting.device), {}
    asked = [("float32", "none"), *(("bf16", mode) for mode in modes if mode != "max")]
    for precision, mode in asked:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        network = _diffusers_network(setting.size)
        network.load_state_dict(theirs)
        network = network.to(setting.device, dtype).eval().requires_grad_(False)
        if mode != "none":
            network.compile(dynamic=False)
        name = f"diffusers, {precision}" + (", compiled" if mode != "none" else "")
        calls[name] = _diffusers(network, autoencoder, setting, dtype)
    return calls


def _diffusers(
    network: DiTTransformer2DModel, autoencoder: AutoencoderKL, setting: Setting, dtype: torch.dtype
) -> Call:
    pipeline = DiTPipeline(network, autoencoder, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def call(clock: StageClock) -> np.ndarray:
        clock.start()
        # PyTorch allows TF32 in convolutions unless told otherwise; ours go without it, and so do theirs.
        without_tf32 = products("float32", setting.device)
        with torch.inference_mode(), torch.autocast(setting.device.type, dtype, enabled=False), without_tf32():
            generator = torch.Generator(setting.device).manual_seed(0)
            # The pipeline hands the autoencoder latents of the network's dtype; decoding is float32, as ours.
            decode = pipeline.vae.decode

            def decode_in_float32(latents: torch.Tensor) -> object:
                clock.mark(DENOISER)
                decoded = decode(latents.float())
                clock.mark(AUTOENCODER)
                return decoded

            pipeline.vae.decode = decode_in_float32
            try:
                labels = list(range(setting.batch_size))
                images = pipeline(labels, SCALE, generator, setting.num_steps, output_type="np").images
            finally:
                del pipeline.vae.decode
        return images

    return call


def _diffusers_network(size: str) -> DiTTransformer2DModel:
    depth, heads, width = SIZES[size]
    return DiTTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=width, in_channels=4, out_channels=8, num_layers=depth,
        sample_size=32, patch_size=2, num_embeds_ada_norm=1000, norm_elementwise_affine=False,
    )  # fmt: skip


def make_autoencoder() -> AutoencoderKL:
    """Make Stable Diffusion's autoencoder with random weights."""
    torch.manual_seed(1)
    return (
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )
        .eval()
        .requires_grad_(False)
    )  # fmt: skip


def _plan(setting: Setting) -> Plan:
    fractions = "[0,1]" if setting.size == "XL" else "[1,0]"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = compose(
            "sample",
            [
                "pair=dit_s_xl", f"stitch.fractions={fractions}", "dry_run=true", f"guidance.scale={SCALE}",
                f"sampler.num_steps={setting.num_steps}", f"batch_size={setting.batch_size}",
            ],
        )  # fmt: skip
    return make_plan(checked("sample", settings))


if __name__ == "__main__":
    main()
