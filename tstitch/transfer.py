"""Tensors between host and GPU without making the host wait."""

from collections.abc import Callable

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy values of the host to the device. From pinned memory the copy is queued in the stream, and nothing waits."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def to_host(*values: Tensor) -> Callable[[], list[Tensor]]:
    """Start copying values to the host; the function that is returned waits for them and gives them."""
    if values[0].device.type != "cuda":
        return lambda: list(values)
    copies = [
        torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True) for value in values
    ]
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(values[0].device))

    def wait() -> list[Tensor]:
        copied.synchronize()
        return copies

    return wait


def without_moving(fn: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """Apply a conversion, but leave the result in host memory where the conversion moves to a device."""
    sample = fn(torch.empty((2,) * tensor.dim(), dtype=tensor.dtype, device=tensor.device))
    if sample.device.type == "cpu" or tensor.is_meta:
        return fn(tensor)
    layout = torch.preserve_format
    for dimensions, channels_last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == dimensions and sample.is_contiguous(memory_format=channels_last):
            layout = channels_last
    return tensor.to("cpu", sample.dtype, memory_format=layout)
