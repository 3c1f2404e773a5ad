"""Our sampler beside diffusers' with the very same weights and beside our plain mode: `python -m benchmarks.sampler`.

DiT-S/2 and DiT-XL/2 with random weights, 256 pixels, guidance scale 1.5, decoding included. All candidates of a network
live in one process and take turns; what is reported are medians and ratios to our float32 eager mode.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from hydra import compose, initialize_config_dir

from evaluation.latency import measure_latency
from evaluation.limits import matmul_tflops
from models.compiled import compile_pair
from models.denoisers import DiTDenoiser
from models.dit import DiT, dit_config, sincos_position_embedding
from models.layouts import dit_state_from_diffusers
from models.pair import Pair
from scripts.cli import CONFIG_DIR, resolved
from scripts.cost import flops_per_image
from scripts.machine import describe_machine
from scripts.plan import Plan, make_plan
from scripts.sampling import sample_images
from tstitch.timing import StageClock

RESULTS = Path(__file__).parent / "results"
SCALE = 1.5
DENOISER, AUTOENCODER = "denoiser", "autoencoder"
SIZES = {"S": (12, 6, 64), "XL": (28, 16, 72)}  # depth, heads, width of a head
Call = Callable[[StageClock], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--num-steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--without-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "sampler.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rates = {
        name: matmul_tflops(dtype, device) for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16))
    }
    measured = {
        f"DiT-{size}/2": measure(
            size,
            arguments.num_steps,
            arguments.batch_size,
            arguments.repeats,
            device,
            rates,
            not arguments.without_compile,
        )
        for size in arguments.sizes
    }
    result = {
        "machine": describe_machine(device),
        "matmul_tflops": rates,
        "num_steps": arguments.num_steps,
        "batch_size": arguments.batch_size,
        "guidance_scale": SCALE,
        "repeats": arguments.repeats,
        "networks": measured,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(
    size: str, num_steps: int, batch_size: int, repeats: int, device: torch.device, rates: dict, with_compile: bool
) -> dict:
    """Seconds of a batch by candidate."""
    torch.manual_seed(0)
    theirs = _diffusers_network(size).eval().requires_grad_(False)
    state = dit_state_from_diffusers(theirs.state_dict())
    config = dit_config(f"DiT-{size}/2", input_size=32)
    state["pos_embed"] = sincos_position_embedding(config.hidden_size, 16)
    autoencoder = _autoencoder().to(device)
    plan = _plan(size, num_steps, batch_size)
    candidates: dict[str, Call] = {}
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    for precision, dtype in dtypes.items():
        for mode in ("none", "default") if with_compile else ("none",):
            network = DiT(config)
            network.load_state_dict(state)
            denoiser = DiTDenoiser(network.to(device, dtype).eval().requires_grad_(False))
            pair = Pair([None, denoiser] if size == "XL" else [denoiser, None], autoencoder)
            name = f"ours, {precision}" + (", compiled" if mode != "none" else "")
            own = replace(plan, precisions=[precision] * len(plan.specs), compile=mode)
            if mode != "none":
                pair = Pair(pair.denoisers, _autoencoder().to(device))
            compile_pair(pair, mode, device)
            candidates[name] = _ours(own, pair, batch_size, device)
    for precision, dtype in dtypes.items():
        copy = _diffusers_network(size)
        copy.load_state_dict(theirs.state_dict())
        copy = copy.to(device, dtype).eval().requires_grad_(False)
        candidates[f"diffusers, {precision}"] = _diffusers(copy, autoencoder, num_steps, batch_size, dtype, device)
        if with_compile and precision == "bf16":
            compiled = _diffusers_network(size)
            compiled.load_state_dict(theirs.state_dict())
            compiled = compiled.to(device, dtype).eval().requires_grad_(False)
            compiled.compile(dynamic=False)
            call = _diffusers(compiled, autoencoder, num_steps, batch_size, dtype, device)
            candidates[f"diffusers, {precision}, compiled"] = call
    latencies = dict(zip(candidates, measure_latency(list(candidates.values()), repeats, device), strict=True))
    plain = latencies["ours, float32"].median_s
    index = 1 if size == "XL" else 0
    gflops = batch_size * flops_per_image(plan) / 1e9
    found = {}
    for name, latency in latencies.items():
        network_s = latency.stages_s.get(DENOISER, latency.stages_s.get(plan.names[index]))
        rate = rates["bf16" if "bf16" in name else "float32"] * 1000
        found[name] = {
            "seconds": latency.median_s,
            "all_seconds": latency.totals_s,
            "stages_s": latency.stages_s,
            "times_our_float32": plain / latency.median_s,
            "denoiser_s": network_s,
            "share_of_matmul_rate": gflops / network_s / rate,
        }
    return found


def _ours(plan: Plan, pair: Pair, batch_size: int, device: torch.device) -> Call:
    return lambda clock: sample_images(plan, pair, range(batch_size), device, clock)


def _diffusers(
    network: DiTTransformer2DModel,
    autoencoder: AutoencoderKL,
    num_steps: int,
    batch_size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Call:
    pipeline = DiTPipeline(network, autoencoder, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def call(clock: StageClock) -> np.ndarray:
        clock.start()
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=False):
            generator = torch.Generator(device).manual_seed(0)
            # The pipeline hands the autoencoder latents of the network's dtype; decoding is float32, as ours.
            decode = pipeline.vae.decode

            def decode_in_float32(latents: torch.Tensor) -> object:
                clock.mark(DENOISER)
                decoded = decode(latents.float())
                clock.mark(AUTOENCODER)
                return decoded

            pipeline.vae.decode = decode_in_float32
            try:
                labels = list(range(batch_size))
                images = pipeline(labels, SCALE, generator, num_steps, output_type="np").images
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


def _autoencoder() -> AutoencoderKL:
    torch.manual_seed(1)
    return (
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )
        .eval()
        .requires_grad_(False)
    )  # fmt: skip


def _plan(size: str, num_steps: int, batch_size: int) -> Plan:
    fractions = "[0,1]" if size == "XL" else "[1,0]"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        settings = compose(
            "sample",
            [
                "pair=dit_s_xl", f"stitch.fractions={fractions}", f"sampler.num_steps={num_steps}", "dry_run=true",
                f"guidance.scale={SCALE}", f"batch_size={batch_size}",
            ],
        )  # fmt: skip
    return make_plan(resolved(settings))


if __name__ == "__main__":
    main()
