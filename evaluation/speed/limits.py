"""The limit of a device: the rate of a large matrix product in a precision."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

SIDES = {"cpu": 2048, "cuda": 8192}
ROUNDS, WARM_UP = 9, 3


@torch.inference_mode()
def matmul_tflops(
    dtype: torch.dtype, device: torch.device, products: Callable[[], AbstractContextManager[None]] = nullcontext
) -> float:
    """Measure the best of several products of square matrices, in TFLOP/s (two operations for a multiply-accumulate).

    Args:
        products: the context of the networks' calls, which decides whether a GPU multiplies float32 in TF32.
    """
    side = SIDES[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    with products():
        seconds = [_seconds(a, b) for _ in range(WARM_UP + ROUNDS)]
    return 2 * side**3 / min(seconds[WARM_UP:]) / 1e12


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    started = time.perf_counter()
    a @ b
    if a.device.type == "cuda":
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - started
