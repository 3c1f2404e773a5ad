"""Precisions by name: the dtype of a network's weights, and how a GPU multiplies float32."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Products = Callable[[], AbstractContextManager[None]]


def products(precision: str, device: torch.device) -> Products:
    """Make the context of a network's calls, in which TF32 is allowed for `tf32` and for nothing else.

    The setting is the process's, and PyTorch allows TF32 in convolutions unless told otherwise, so each network sets
    its own. A compiled network always sees the same setting and is not compiled again. No effect on a CPU.
    """
    if device.type != "cuda":
        return nullcontext
    return partial(_tf32, precision == "tf32")


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolutions.allow_tf32
    matmul.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, convolutions.allow_tf32 = before
