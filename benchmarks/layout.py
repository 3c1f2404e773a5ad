"""Decoding with convolutions in both layouts, in each precision: `python -m benchmarks.layout`.

`models.placement.place` leaves networks on a GPU as they are, for what is measured here.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.sampler import make_autoencoder
from evaluation.speed.latency import measure_latency
from models.autoencoder import decode
from models.placement.place import place
from models.placement.precision import products
from tstitch.runs.machine import describe_machine
from tstitch.runs.timing import StageClock

RESULTS = Path(__file__).parent / "results"
PRECISIONS = {"cpu": ("float32", "bf16"), "cuda": ("float32", "tf32", "bf16", "fp16")}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Decoding:
    """Median seconds of a batch, and the largest difference of its pixels (in -1..1) from contiguous float32."""

    seconds: float
    all_seconds: list[float]
    largest_difference: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--side", type=int, default=32, help="of the latents; pixels are eight times as many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "layout.json")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    decodings = measure(make_autoencoder(), arguments.batch_size, arguments.side, arguments.repeats, device)
    result = {
        "machine": describe_machine(device),
        "batch_size": arguments.batch_size,
        "pixels": 8 * arguments.side,
        "decodings": {name: asdict(own) for name, own in decodings.items()},
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(
    autoencoder: nn.Module, batch_size: int, side: int, repeats: int, device: torch.device
) -> dict[str, Decoding]:
    """Time decoding by precision and layout, in turns."""
    state, config = autoencoder.state_dict(), autoencoder.config
    latents = torch.randn(batch_size, config.latent_channels, side, side, generator=torch.Generator().manual_seed(0))
    calls, pixels = {}, {}
    for precision in PRECISIONS[device.type]:
        for name, layout in LAYOUTS.items():
            network = type(autoencoder).from_config(config)
            network.load_state_dict(state)
            network = place(network, precision, device).to(memory_format=layout)
            key = f"{precision}, {name}"
            calls[key] = partial(_decode, network, latents.to(device), precision)
            pixels[key] = calls[key](StageClock(device))
    exact = next(iter(pixels.values()))
    latencies = measure_latency(list(calls.values()), repeats, device)
    return {
        key: Decoding(latency.median_s, latency.totals_s, float((pixels[key] - exact).abs().max()))
        for key, latency in zip(calls, latencies, strict=True)
    }


@torch.inference_mode()
def _decode(network: nn.Module, latents: torch.Tensor, precision: str, _: StageClock) -> torch.Tensor:
    with products(precision, latents.device)():
        return decode(network, latents).float().cpu()


if __name__ == "__main__":
    main()
