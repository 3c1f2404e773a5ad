"""A DiT for some of its tokens beside the whole one, in measured time: `python -m benchmarks.regions`.

77 of 256 tokens do not run 3.3 times as fast as all of them; this says how much faster they do run.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from models.networks.dit import DiT, dit_config
from models.networks.sparse_dit import forward_tokens
from tstitch.runs.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
SHAPES = ("DiT-S/2", "DiT-XL/2")
SIDES = (8, 32)  # of the latents: 16 and 256 tokens
SHARES = (0.1, 0.3, 0.5, 1.0)


@torch.inference_mode()
def measure(shape: str, side: int, batch_size: int, repeats: int, device: torch.device) -> dict:
    """Median seconds of the whole network and of each share of its tokens, in turns."""
    network = DiT(dit_config(shape, input_size=side)).to(device).eval()
    num_tokens = (side // 2) ** 2
    x = torch.randn(batch_size, 4, side, side, device=device)
    t = torch.full((batch_size,), 500, device=device)
    y = torch.zeros(batch_size, dtype=torch.int64, device=device)
    memory: dict = {}
    forward_tokens(network, x, t, y, None, memory)
    calls: dict[str, Callable[[], object]] = {"dense": partial(network, x, t, y)}
    for share in SHARES:
        tokens = torch.arange(round(share * num_tokens), device=device).expand(batch_size, -1)
        calls[f"{share:g}"] = partial(forward_tokens, network, x, t, y, tokens, memory)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            times[name].append(_seconds(call, device))
    medians = {name: median(own[1:]) for name, own in times.items()}  # the first round warms up
    speed_up = {name: medians["dense"] / own for name, own in medians.items() if name != "dense"}
    memory_mb = sum(k.nbytes + v.nbytes for k, v in memory["blocks"]) / 1e6
    return {"tokens": num_tokens, "batch_size": batch_size, "seconds": medians, "speed_up": speed_up,
            "memory_mb": memory_mb}  # fmt: skip


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "regions.json")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measured = {
        f"{shape}, {(side // 2) ** 2} tokens": measure(shape, side, arguments.batch_size, arguments.repeats, device)
        for shape in SHAPES
        for side in SIDES
    }
    text = json.dumps({"machine": describe_machine(device), "float32": measured}, indent=2) + "\n"
    arguments.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
